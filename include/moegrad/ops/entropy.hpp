#pragma once
// entropy of a row, in nats.   h[t] = -sum_e p[t,e] log(p[t,e] + eps),      where 0 log 0 = 0
// backward:                    dp = -dh (log(p + eps) + p / (p + eps)),   0 where p + eps = 0
// Saved: p [T, E].             The input need not sum to 1. eps is 0, or what some code adds (GW-MoE: 1e-5).

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct EntropyKernels {
    void (*forward)(Stream, View<const Real, 2> p, View<Real, 1> h, double eps);
    void (*backward)(Stream, View<const Real, 2> p, View<const Real, 1> dh, View<Real, 2> dp, Write,
                     double eps);
};

inline constinit KernelSlot<EntropyKernels> entropy_slot{"entropy"};

/// p [T, E] -> [T].
template <class Real>
Var<Real> entropy(Tape& tape, const Var<Real>& p, double eps = 0) {
    if (p.shape().rank() != 2) {
        throw Error{ErrorCode::shape, "entropy", "p [T, E]", "p " + p.shape().text()};
    }
    const auto& kernels = entropy_slot.get<Real>(tape.device());
    auto h = tape.output<Real>({p.extent(0)}, p.needs_gradient());
    kernels.forward(tape.stream(), p.template view<2>(), h.value().template view<1>(), eps);
    if (!h.needs_gradient()) return h;
    tape.record(h.gradient(), [&kernels, stream = tape.stream(), p, eps, dh = h.gradient()] {
        auto target = p.gradient()->target();
        kernels.backward(stream, p.template view<2>(), dh->tensor().template view<1>(),
                         target.tensor.template view<2>(), target.write, eps);
    });
    return h;
}

}  // namespace moegrad
