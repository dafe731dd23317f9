#pragma once
// renormalize: the weights of the entries that take part, divided by their sum.
//     u[t,k] = w[t,k] / s[t],   s[t] = sum_{j: index[t,j] >= 0} w[t,j],      u[t,k] = 0 where index[t,k] < 0
// backward, for those:   dw[t,k] = (du[t,k] - sum_j u[t,j] du[t,j]) / s[t],   0 elsewhere
// s = 0 (no entry takes part: an all-null token) gives zeros and a zero gradient. A single entry gets exactly
// 1 and exactly a zero gradient. In groups: each consecutive K of [T, G K] has a sum of its own.
// Saved: w, index [T, G K].       Zeng et al. 2024 (AdaMoE): true experts only; Mixtral: all chosen.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct RenormalizeKernels {
    void (*forward)(Stream, View<const Real, 2> w, View<const std::int32_t, 2> index, View<Real, 2> u,
                    Index groups);
    void (*backward)(Stream, View<const Real, 2> w, View<const std::int32_t, 2> index, View<const Real, 2> du,
                     View<Real, 2> dw, Index groups, Write);
};

inline constinit KernelSlot<RenormalizeKernels> renormalize_slot{"renormalize"};

/// w, index [T, G K] -> [T, G K]. Only the sign of index is read.
template <class Real>
Var<Real> renormalize(Tape& tape, const Var<Real>& w, const Tensor<std::int32_t>& index, Index groups = 1) {
    if (w.shape().rank() != 2 || !(w.shape() == index.shape()) || groups < 1 || w.extent(1) % groups != 0) {
        throw Error{ErrorCode::shape, "renormalize", "w and index [T, G K]",
                    format("w {}, index {}, groups {}", w.shape().text(), index.shape().text(), groups)};
    }
    const auto& kernels = renormalize_slot.get<Real>(tape.device());
    auto u = tape.output<Real>(w.shape(), w.needs_gradient());
    kernels.forward(tape.stream(), w.template view<2>(), index.view<2>(), u.value().template view<2>(),
                    groups);
    if (!u.needs_gradient()) return u;
    tape.record(u.gradient(), [&kernels, stream = tape.stream(), w, index, groups, du = u.gradient()] {
        auto dw = w.gradient()->target();
        kernels.backward(stream, w.template view<2>(), index.view<2>(), du->tensor().template view<2>(),
                         dw.tensor.template view<2>(), groups, dw.write);
    });
    return u;
}

}  // namespace moegrad
