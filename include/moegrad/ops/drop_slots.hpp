#pragma once
// drop_slots: slots of a token dropped by chance. Slot 0 stays; slot k > 0 stays with probability 1 - rate.
//     kept[t,k] = choice[t,k],   -1 where dropped
//     left[t,k] = expert[t,k],   kDropped where a true expert was dropped
// The draws are those of dropout (ops/dropout.hpp) with the slot for the column and a seed of their own.
//   thin_slots: dropped by their weight. Slot 0 stays; slot k > 0 stays
//     by threshold   where w[t,k] > threshold
//     by chance      with probability min(1, w[t,k] / threshold): where threshold u < w[t,k], u uniform from the same words
//   The other true experts become kDropped. Decisions are recorded and replayed as those of top_k.
// Saved: nothing.

#include <moegrad/autograd/recorded_choice.hpp>
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

/// The word of slot k.
MOEGRAD_HD constexpr std::uint32_t slot_word(const DropoutMask& mask, std::int32_t sample,
                                             std::int32_t position, Index k) {
    return dropout_words(mask, sample, position,
                         static_cast<std::uint32_t>(k / 4))[static_cast<std::size_t>(k % 4)];
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

struct SlotThinning {
    double threshold = 0;
    bool by_chance = false;

    /// word: of the slot.
    MOEGRAD_HD constexpr bool stays(double w, std::uint32_t word) const {
        return by_chance ? threshold * static_cast<double>(uniform(word)) < w : w > threshold;
    }
};

template <class Real>
struct DropSlotsKernels {
    void (*drop)(Stream, TokenKeys, DrawKey, double rate, SlotDrop);
    void (*thin)(Stream, TokenKeys, DrawKey, SlotThinning, View<const Real, 2> w,
                 View<const std::int32_t, 2> expert, View<std::int32_t, 2> left);
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
        .drop(tape.stream(), token_keys(segments), key, rate,
              {choice.view<2>(), expert.view<2>(), kept.choice.view<2>(), kept.expert.view<2>()});
    return kept;
}

/// expert, w [T, K] -> expert with kDropped. A NaN w of a true expert is an error; on a GPU it sets status()->not_finite.
template <class Real>
Tensor<std::int32_t> thin_slots(Tape& tape, const Tensor<std::int32_t>& expert, const Tensor<Real>& w,
                                const Segments& segments, const SlotThinning& thinning, const DrawKey& key) {
    if (w.shape().rank() != 2 || !(w.shape() == expert.shape()) || w.rows() != segments.tokens()) {
        throw Error{ErrorCode::shape, "thin_slots", format("expert and w [{}, K]", segments.tokens()),
                    format("expert {}, w {}", expert.shape().text(), w.shape().text())};
    }
    if (!(thinning.threshold >= 0)) {
        throw Error{ErrorCode::value, "thin_slots", "a threshold of at least 0",
                    format("{}", thinning.threshold)};
    }
    return recorded_choice(tape, "thin_slots", w.shape(), [&](const Tensor<std::int32_t>& left) {
        drop_slots_slot.get<Real>(tape.device())
            .thin(tape.stream(), token_keys(segments), key, thinning, w.template view<2>(), expert.view<2>(),
                  left.view<2>());
    });
}

}  // namespace moegrad
