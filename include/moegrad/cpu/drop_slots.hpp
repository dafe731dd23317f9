#pragma once
// CPU kernel of ops/drop_slots.hpp. Tokens are independent.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/drop_slots.hpp>

namespace moegrad::cpu::drop_slots {
namespace {

inline void drop(Stream stream, TokenKeys tokens, DrawKey draw, double rate, SlotDrop slots) {
    const DropoutMask mask = drop_slots_mask(draw, rate, stream.scalars());
    const Index K = slots.choice.extent(1);
    for_rows(stream, slots.choice.extent(0), 16 * K, [&](Index t) {
        for (Index k = 0; k < K; ++k) {
            const bool stays =
                k == 0 || rate == 0 || dropout_keep(mask, tokens.sample(t), tokens.position(t), k);
            slots.apply(t, k, stays);
        }
    });
}

template <class Real>
constexpr DropSlotsKernels<Real> kernels{drop};

}  // namespace
}  // namespace moegrad::cpu::drop_slots

MOEGRAD_CPU_SEATS(drop_slots)
