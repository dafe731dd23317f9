#pragma once
// take: values at chosen columns.   w[t,k] = p[t, index[t,k]],   0 where index[t,k] < 0
// backward:                         dp[t,c] = sum_{k: index[t,k] = c} dw[t,k]
// In groups: p [T, G E], index [T, G K]; an index counts within its group.
// Saved: index [T, G K].

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct TakeKernels {
    void (*forward)(Stream, View<const Real, 2> p, View<const std::int32_t, 2> index, View<Real, 2> w,
                    Index groups);
    void (*backward)(Stream, View<const std::int32_t, 2> index, View<const Real, 2> dw, View<Real, 2> dp,
                     Index groups, Write);
};

inline constinit KernelSlot<TakeKernels> take_slot{"take"};

/// p [T, G E], index [T, G K] -> [T, G K]. An index at or beyond E is an error.
template <class Real>
Var<Real> take(Tape& tape, const Var<Real>& p, const Tensor<std::int32_t>& index, Index groups = 1) {
    if (p.shape().rank() != 2 || index.shape().rank() != 2 || p.extent(0) != index.extent(0) || groups < 1 ||
        p.extent(1) % groups != 0 || index.extent(1) % groups != 0) {
        throw Error{ErrorCode::shape, "take", "p [T, G E] and index [T, G K]",
                    format("p {}, index {}, groups {}", p.shape().text(), index.shape().text(), groups)};
    }
    const auto& kernels = take_slot.get<Real>(tape.device());
    auto w = tape.output<Real>(index.shape(), p.needs_gradient());
    kernels.forward(tape.stream(), p.template view<2>(), index.view<2>(), w.value().template view<2>(),
                    groups);
    if (!w.needs_gradient()) return w;
    tape.record(w.gradient(), [&kernels, stream = tape.stream(), index, groups, gradient = p.gradient(),
                               dw = w.gradient()] {
        auto dp = gradient->target();
        kernels.backward(stream, index.view<2>(), dw->tensor().template view<2>(),
                         dp.tensor.template view<2>(), groups, dp.write);
    });
    return w;
}

}  // namespace moegrad
