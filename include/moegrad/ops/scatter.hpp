#pragma once
// scatter: chosen values back into a dense row; the transpose of `take`.
//     p[t,c] = sum_{k: index[t,k] = c} w[t,k],   so 0 in columns that nobody chose
// backward:                                       dw[t,k] = dp[t, index[t,k]],   0 where index[t,k] < 0
// In groups: w, index [T, G K], p [T, G E]; an index counts within its group.
// Saved: index [T, G K].

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct ScatterKernels {
    void (*forward)(Stream, View<const Real, 2> w, View<const std::int32_t, 2> index, View<Real, 2> p,
                    Index groups);
    void (*backward)(Stream, View<const std::int32_t, 2> index, View<const Real, 2> dp, View<Real, 2> dw,
                     Index groups, Write);
};

inline constinit KernelSlot<ScatterKernels> scatter_slot{"scatter"};

/// w, index [T, G K] -> [T, G columns]. An index at or beyond `columns` is an error.
template <class Real>
Var<Real> scatter(Tape& tape, const Var<Real>& w, const Tensor<std::int32_t>& index, Index columns,
                  Index groups = 1) {
    if (w.shape().rank() != 2 || !(w.shape() == index.shape()) || groups < 1 || columns < 0 ||
        w.extent(1) % groups != 0) {
        throw Error{ErrorCode::shape, "scatter", "w and index [T, G K]",
                    format("w {}, index {}, columns {}, groups {}", w.shape().text(), index.shape().text(),
                           columns, groups)};
    }
    const auto& kernels = scatter_slot.get<Real>(tape.device());
    auto p = tape.output<Real>({w.extent(0), groups * columns}, w.needs_gradient());
    kernels.forward(tape.stream(), w.template view<2>(), index.view<2>(), p.value().template view<2>(),
                    groups);
    if (!p.needs_gradient()) return p;
    tape.record(p.gradient(), [&kernels, stream = tape.stream(), index, groups, gradient = w.gradient(),
                               dp = p.gradient()] {
        auto dw = gradient->target();
        kernels.backward(stream, index.view<2>(), dp->tensor().template view<2>(),
                         dw.tensor.template view<2>(), groups, dw.write);
    });
    return p;
}

}  // namespace moegrad
