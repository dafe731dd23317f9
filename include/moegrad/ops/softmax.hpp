#pragma once
// softmax over consecutive groups of E columns.
//   p[t,g,e] = exp(x[t,g,e] - max) / sum_e' exp(x[t,g,e'] - max)
// backward: dx = p (dy - sum_e' dy p)
// Saved: p [T, G E].
//
// -inf is a logit that is switched off: p = 0. A group of nothing but -inf gives zeros and no gradient. NaN
// and +inf make their whole group NaN, so that they stay visible.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct SoftmaxKernels {
    void (*forward)(Stream, View<const Real, 2> x, View<Real, 2> p, Index groups);
    void (*backward)(Stream, View<const Real, 2> p, View<const Real, 2> dy, View<Real, 2> dx, Index groups,
                     Write);
};

inline constinit KernelSlot<SoftmaxKernels> softmax_slot{"softmax"};

/// x [T, G E] -> [T, G E], a distribution over each of the `groups` G groups of E columns. Routers use Wide.
template <class Real>
Var<Real> softmax(Tape& tape, const Var<Real>& x, Index groups = 1) {
    if (x.shape().rank() != 2 || groups < 1 || x.extent(1) % groups != 0) {
        throw Error{ErrorCode::shape, "softmax", "x [T, G E] with G groups",
                    format("x {}, {} groups", x.shape().text(), groups)};
    }
    const auto& kernels = softmax_slot.get<Real>(tape.device());
    auto p = tape.output<Real>(x.shape(), x.needs_gradient());
    kernels.forward(tape.stream(), x.template view<2>(), p.value().template view<2>(), groups);
    if (!p.needs_gradient()) return p;
    tape.record(p.gradient(), [&kernels, stream = tape.stream(), p = p.value(), groups, dy = p.gradient(),
                               dx = x.gradient()] {
        auto target = dx->target();
        kernels.backward(stream, p.template view<2>(), dy->tensor().template view<2>(),
                         target.tensor.template view<2>(), groups, target.write);
    });
    return p;
}

}  // namespace moegrad
