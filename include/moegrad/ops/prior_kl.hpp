#pragma once
// prior_kl: how far a router's probabilities are from a prior given as labels, per token, the reverse divergence:
//     value[t] = sum_e p[t,e] ln(p[t,e] / q[t,e]),   p = softmax(z),   q = softmax(label),   0 for padding
// label is a multi-hot of 0 and 1: with E = 4 and two labels q is 0.3655 and 0.1345. p and q are held in
// [1e-7, 1 - 1e-7], as the code has it; the gradient takes the bounded p, q and value as if no bound had acted:
//     dz[t,j] = dvalue[t] p[t,j] ( ln(p[t,j] / q[t,j]) - value[t] )       the label gets none
// Saved: z, label [T, E], lse, value [T].          FactorLLM (arXiv 2408.11855), the Prior-Approximate loss

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

inline constexpr double kPriorBound = 1e-7;

template <class Real>
struct PriorKlKernels {
    /// valid: an empty view means that every token counts. Rows that do not are never read. lse: of z.
    void (*forward)(Stream, View<const Real, 2> z, View<const Real, 2> label,
                    View<const std::uint8_t, 1> valid, View<Real, 1> value, View<Real, 1> lse);
    void (*backward)(Stream, View<const Real, 2> z, View<const Real, 2> label,
                     View<const std::uint8_t, 1> valid, View<const Real, 1> value, View<const Real, 1> lse,
                     View<const Real, 1> dvalue, View<Real, 2> dz, Write);
};

inline constinit KernelSlot<PriorKlKernels> prior_kl_slot{"prior_kl"};

/// z, label [T, E], valid [T] as in Segments (not defined: all tokens count) -> [T]. The mean belongs to the step.
template <class Real>
Var<Real> prior_kl(Tape& tape, const Var<Real>& z, const Tensor<Real>& label,
                   const Tensor<std::uint8_t>& valid) {
    if (z.shape().rank() != 2 || !(label.shape() == z.shape()) ||
        (valid.defined() && !(valid.shape() == Shape{z.extent(0)}))) {
        throw Error{
            ErrorCode::shape, "prior_kl", "z, label [T, E] and valid [T]",
            format("z {}, label {}, valid {}", z.shape().text(), label.shape().text(), valid.shape().text())};
    }
    const auto& kernels = prior_kl_slot.get<Real>(tape.device());
    auto value = tape.output<Real>({z.extent(0)}, z.needs_gradient());
    auto lse = tape.make<Real>({z.extent(0)});
    kernels.forward(tape.stream(), z.template view<2>(), label.template view<2>(), view_or_none<1>(valid),
                    value.value().template view<1>(), lse.template view<1>());
    if (!value.needs_gradient()) return value;
    tape.record(value.gradient(), [&kernels, stream = tape.stream(), z, label, valid, lse, kl = value.value(),
                                   dvalue = value.gradient()] {
        auto target = z.gradient()->target();
        kernels.backward(stream, z.template view<2>(), label.template view<2>(), view_or_none<1>(valid),
                         kl.template view<1>(), lse.template view<1>(), dvalue->tensor().template view<1>(),
                         target.tensor.template view<2>(), target.write);
    });
    return value;
}

}  // namespace moegrad
