#pragma once
// broadcast_slots: a token whose score is high takes every column.
//     wide[t,c] = c                   where h[t] > threshold (Broadcast::above) or h[t] >= threshold (Broadcast::from)
//                 choice[t,c]         elsewhere, kUnused for c >= K
// h is the token's uncertainty: DynMoLE sends tokens above, GW-MoE tokens from a threshold to all experts. An infinite
// threshold widens the slots and broadcasts nothing, or everything. A NaN is an error that names its token. Not
// differentiable. The decision is recorded and replayed as that of top_k: a threshold test on recomputed scores might
// turn out otherwise.
// Saved: nothing.

#include <moegrad/autograd/recorded_choice.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/ops/null_slots.hpp>

namespace moegrad {

enum class Broadcast { above, from };

/// One batch, for kernels.
template <class Real>
struct BroadcastSlots {
    View<const std::int32_t, 2> choice;  // [T, K]
    View<const Real, 1> h;               // [T]
    View<std::int32_t, 2> wide;          // [T, C]
    double threshold;
    Broadcast when;

    MOEGRAD_HD constexpr bool everywhere(Index t) const {
        const double score = static_cast<double>(h(t));
        return when == Broadcast::above ? score > threshold : score >= threshold;
    }
    MOEGRAD_HD constexpr std::int32_t slot(Index t, Index c, bool all) const {
        if (all) return static_cast<std::int32_t>(c);
        return c < choice.extent(1) ? choice(t, c) : kUnused;
    }
};

template <class Real>
struct BroadcastSlotsKernels {
    void (*forward)(Stream, BroadcastSlots<Real>);
};

inline constinit KernelSlot<BroadcastSlotsKernels> broadcast_slots_slot{"broadcast_slots", Proof::reference};

/// choice [T, K] columns (negative: unused), h [T] -> [T, C] with C = columns >= K.
template <class Real>
Tensor<std::int32_t> broadcast_slots(Tape& tape, const Tensor<std::int32_t>& choice, const Tensor<Real>& h,
                                     double threshold, Index columns, Broadcast when = Broadcast::above) {
    const bool fits = choice.shape().rank() == 2 && h.shape() == Shape{choice.extent(0)};
    if (!fits || choice.extent(1) > columns) {
        throw Error{ErrorCode::shape, "broadcast_slots", format("choice [T, K <= {}] and h [T]", columns),
                    format("choice {}, h {}", choice.shape().text(), h.shape().text())};
    }
    if (threshold != threshold) {
        throw Error{ErrorCode::value, "broadcast_slots", "a threshold that is a number", "NaN"};
    }
    return recorded_choice(
        tape, "broadcast_slots", {choice.extent(0), columns}, [&](const Tensor<std::int32_t>& wide) {
            broadcast_slots_slot.get<Real>(tape.device())
                .forward(tape.stream(),
                         {choice.view<2>(), h.template view<1>(), wide.template view<2>(), threshold, when});
        });
}

}  // namespace moegrad
