#pragma once
// top_p: the columns of each row that hold most of its mass, best first.   scores [T, C] >= 0 -> [T, K], kUnused after them
// With the columns sorted (higher score first; equal scores: lower column first), s_j the score of place j = 0, 1, ..,
// the places before the first that does not stay. Place j stays where j < keep, or
//     s_0 + .. + s_{j-1} <= p  (crossing: the place that carries the sum beyond p is the last; nucleus, Dynamic MoE)
//     s_0 + .. + s_j     <= p  (else: it is dropped; DynMoLE)          p >= 1 is no bound, whatever the sum rounds to
// and s_j >= ratio s_0. at_most cuts behind. Sums are in double: one answer on every device.
// A NaN is an error that names its token. Not differentiable; the choice is recorded and replayed as that of top_k.
// Saved: nothing.       Huang et al. 2024 (arXiv 2403.07652); DynMoLE's implementation.

#include <moegrad/autograd/recorded_choice.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/ops/null_slots.hpp>

namespace moegrad {

struct TopPOptions {
    double p = 0.8;
    double ratio = 0;      // of the best score: what a place needs at least
    Index keep = 1;        // places that stay whatever p and ratio say
    bool crossing = true;  // whether the place that crosses p stays
    Index at_most = 0;     // K; 0: C

    /// before: the sum of the places before.
    MOEGRAD_HD constexpr bool stays(Index place, double before, double score, double best) const {
        if (place < keep) return true;
        const double sum = crossing ? before : before + score;
        return (p >= 1 || sum <= p) && score >= ratio * best;
    }
    /// K for rows of C columns.
    constexpr Index slots(Index C) const { return at_most > 0 && at_most < C ? at_most : C; }
};

template <class Real>
struct TopPKernels {
    void (*forward)(Stream, View<const Real, 2> scores, View<std::int32_t, 2> choice, TopPOptions);
};

inline constinit KernelSlot<TopPKernels> top_p_slot{"top_p", Proof::reference};

/// scores [T, C] -> [T, K] with K = options.slots(C).
template <class Real>
Tensor<std::int32_t> top_p(Tape& tape, const Tensor<Real>& scores, const TopPOptions& options) {
    if (scores.shape().rank() != 2) {
        throw Error{ErrorCode::shape, "top_p", "scores [T, C]", "scores " + scores.shape().text()};
    }
    if (!(options.p >= 0 && options.ratio >= 0) || options.keep < 0 || options.at_most < 0) {
        throw Error{ErrorCode::value, "top_p", "p, ratio, keep and at_most from 0",
                    format("p {}, ratio {}, keep {}, at_most {}", options.p, options.ratio, options.keep,
                           options.at_most)};
    }
    const Shape shape{scores.extent(0), options.slots(scores.extent(1))};
    return recorded_choice(tape, "top_p", shape, [&](const Tensor<std::int32_t>& choice) {
        top_p_slot.get<Real>(tape.device())
            .forward(tape.stream(), scores.template view<2>(), choice.template view<2>(), options);
    });
}

}  // namespace moegrad
