#pragma once
// CPU kernel of ops/drop_slots.hpp. Tokens are independent.

#include <moegrad/core/error.hpp>
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
void thin(Stream stream, TokenKeys tokens, DrawKey draw, SlotThinning thinning, View<const Real, 2> w,
          View<const std::int32_t, 2> expert, View<std::int32_t, 2> left) {
    const DropoutMask mask = drop_slots_mask(draw, 0, stream.scalars());
    const Index K = w.extent(1);
    for_rows(stream, w.extent(0), 16 * K, [&](Index t) {
        for (Index k = 0; k < K; ++k) {
            if (expert(t, k) >= 0 && w(t, k) != w(t, k)) {
                throw Error{ErrorCode::value, "thin_slots", "weights that are numbers",
                            format("NaN for token {}, slot {}", t, k),
                            "the router's input or weight is not finite; look at the layers before it"};
            }
            const bool stays = k == 0 || expert(t, k) < 0 ||
                               thinning.stays(static_cast<double>(w(t, k)),
                                              slot_word(mask, tokens.sample(t), tokens.position(t), k));
            left(t, k) = stays ? expert(t, k) : kDropped;
        }
    });
}

template <class Real>
constexpr DropSlotsKernels<Real> kernels{drop, thin<Real>};

}  // namespace
}  // namespace moegrad::cpu::drop_slots

MOEGRAD_CPU_SEATS(drop_slots)
