#pragma once
// z_loss of router logits, per token.  value[t] = lse[t]^2,  lse[t] = log sum_e exp(z[t,e]),  0 for padding
// backward:                            dz = dvalue 2 lse p,  p = exp(z - lse)
// Saved: z [T, E], lse [T].            ST-MoE, Zoph et al. 2022, eq. 5 (there with the mean over tokens).

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct ZLossKernels {
    /// valid: an empty view means that every token counts. Rows that do not are never read.
    void (*forward)(Stream, View<const Real, 2> z, View<const std::uint8_t, 1> valid, View<Real, 1> value,
                    View<Real, 1> lse);
    void (*backward)(Stream, View<const Real, 2> z, View<const std::uint8_t, 1> valid,
                     View<const Real, 1> lse, View<const Real, 1> dvalue, View<Real, 2> dz, Write);
};

inline constinit KernelSlot<ZLossKernels> z_loss_slot{"z_loss"};

/// z [T, E] in Wide, valid [T] as in Segments (not defined: all tokens count) -> [T]. The coefficient and the
/// mean over the tokens belong to the step.
template <class Real>
Var<Real> z_loss(Tape& tape, const Var<Real>& z, const Tensor<std::uint8_t>& valid) {
    if (z.shape().rank() != 2 || (valid.defined() && !(valid.shape() == Shape{z.extent(0)}))) {
        throw Error{ErrorCode::shape, "z_loss", "z [T, E] and valid [T]",
                    format("z {}, valid {}", z.shape().text(), valid.shape().text())};
    }
    const auto& kernels = z_loss_slot.get<Real>(tape.device());
    auto value = tape.output<Real>({z.extent(0)}, z.needs_gradient());
    auto lse = tape.make<Real>({z.extent(0)});
    kernels.forward(tape.stream(), z.template view<2>(), view_or_none<1>(valid),
                    value.value().template view<1>(), lse.template view<1>());
    if (!value.needs_gradient()) return value;
    tape.record(value.gradient(), [&kernels, stream = tape.stream(), z, valid, lse,
                                   dvalue = value.gradient()] {
        auto target = z.gradient()->target();
        kernels.backward(stream, z.template view<2>(), view_or_none<1>(valid), lse.template view<1>(),
                         dvalue->tensor().template view<1>(), target.tensor.template view<2>(), target.write);
    });
    return value;
}

}  // namespace moegrad
