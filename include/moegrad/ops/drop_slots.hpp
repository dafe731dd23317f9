#pragma once
// drop_slots: slots of a token dropped by chance. Slot 0 stays; slot k > 0 stays with probability 1 - rate.
//     kept[t,k] = choice[t,k],   -1 where dropped
//     left[t,k] = expert[t,k],   kDropped where a true expert was dropped
// The draws are those of dropout (ops/dropout.hpp) with the slot for the column and a seed of their own.
// Saved: nothing.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/ops/null_slots.hpp>
#include <moegrad/ops/random_choice.hpp>

namespace moegrad {

MOEGRAD_HD constexpr DropoutMask drop_slots_mask(const DrawKey& draw, double rate,
                                                 const StepScalars& scalars) {
    constexpr std::uint32_t kTag = 0x64726f70;  // no other draw of a module uses this expert number
    StepScalars own;
    own.seed = draw.seed;
    own.step = draw.step(scalars);
    return dropout_mask(own, {rate, draw.module}, kTag);
}

/// Slots [T, K] before and after.
struct SlotDrop {
    View<const std::int32_t, 2> choice, expert;
    View<std::int32_t, 2> kept, left;

    MOEGRAD_HD constexpr void apply(Index t, Index k, bool stays) const {
        kept(t, k) = stays ? choice(t, k) : kUnused;
        left(t, k) = stays || expert(t, k) < 0 ? expert(t, k) : kDropped;
    }
};

template <class Real>
struct DropSlotsKernels {
    void (*drop)(Stream, TokenKeys, DrawKey, double rate, SlotDrop);
};

inline constinit KernelSlot<DropSlotsKernels> drop_slots_slot{"drop_slots", Proof::reference};

struct KeptSlots {
    Tensor<std::int32_t> choice, expert;  // [T, K]
};

/// choice, expert [T, K] as classify_slots has them; 0 <= rate <= 1. Real: the type of the router.
template <class Real>
KeptSlots drop_slots(Tape& tape, const Tensor<std::int32_t>& choice, const Tensor<std::int32_t>& expert,
                     const Segments& segments, double rate, const DrawKey& key) {
    if (choice.shape().rank() != 2 || !(choice.shape() == expert.shape()) ||
        choice.rows() != segments.tokens()) {
        throw Error{ErrorCode::shape, "drop_slots", format("choice and expert [{}, K]", segments.tokens()),
                    format("choice {}, expert {}", choice.shape().text(), expert.shape().text())};
    }
    if (!(rate >= 0 && rate <= 1)) {
        throw Error{ErrorCode::value, "drop_slots", "a rate in [0, 1]", format("{}", rate)};
    }
    const KeptSlots kept{tape.make<std::int32_t>(choice.shape()), tape.make<std::int32_t>(choice.shape())};
    drop_slots_slot.get<Real>(tape.device())
        .drop(tape.stream(), {segments.sample.view<1>(), segments.position.view<1>()}, key, rate,
              {choice.view<2>(), expert.view<2>(), kept.choice.view<2>(), kept.expert.view<2>()});
    return kept;
}

}  // namespace moegrad
