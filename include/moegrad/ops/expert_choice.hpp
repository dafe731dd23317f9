#pragma once
// expert_choice: each column takes its best tokens (Zhou et al. 2022, arXiv 2202.09368).
//     C = ceil(n share),  n the valid tokens of the group       choice[t,e] = e if t is one of the C best of score[:,e],
//                                                                              else kUnused
// A group is a segment, or the batch. Equal scores (-0 equals 0): the lower token first. A NaN is an error that names its
// token. Padding chooses nothing. Not differentiable. Where the tape carries selections (a checkpointed segment), the first
// run records the choice and the replay returns it without looking at the scores.
// Saved: nothing.

#include <cmath>

#include <moegrad/autograd/recorded_choice.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/ops/null_slots.hpp>

namespace moegrad {

enum class ChoiceGroup { segment, batch };

/// ceil(n share), at most n. A share of 1/8 of 24 tokens is 3 of them, whatever the product rounds to.
MOEGRAD_HD inline Index choice_capacity(Index n, double share) {
    const double wanted = std::ceil(static_cast<double>(n) * share - 1e-9);
    return wanted < static_cast<double>(n) ? static_cast<Index>(wanted) : n;
}

/// The rows of each group.
struct ChoiceGroups {
    View<const std::int32_t, 1> begin;  // [S + 1] of segments; not read for a batch
    View<const std::uint8_t, 1> valid;  // [T]
    ChoiceGroup kind = ChoiceGroup::batch;
    Index count = 1;

    MOEGRAD_HD Index first(Index g) const { return kind == ChoiceGroup::batch ? 0 : begin(g); }
    MOEGRAD_HD Index end(Index g) const {
        return kind == ChoiceGroup::batch ? valid.extent(0) : begin(g + 1);
    }
};

template <class Real>
struct ExpertChoiceKernels {
    void (*choose)(Stream, View<const Real, 2> score, ChoiceGroups groups, double share,
                   View<std::int32_t, 2> choice);
};

inline constinit KernelSlot<ExpertChoiceKernels> expert_choice_slot{"expert_choice", Proof::reference};

/// score [T, E] -> [T, E]; 0 < share: tokens of a column over the tokens of its group.
template <class Real>
Tensor<std::int32_t> expert_choice(Tape& tape, const Tensor<Real>& score, const Segments& segments,
                                   double share, ChoiceGroup kind) {
    if (score.shape().rank() != 2 || score.extent(0) != segments.tokens()) {
        throw Error{ErrorCode::shape, "expert_choice", format("score [{}, E]", segments.tokens()),
                    "score " + score.shape().text()};
    }
    if (!(share > 0)) {
        throw Error{ErrorCode::value, "expert_choice", "a share above 0", format("{}", share)};
    }
    return recorded_choice(tape, "expert_choice", score.shape(), [&](const Tensor<std::int32_t>& choice) {
        if (score.size() == 0) return;
        const ChoiceGroups groups{segments.begin.view<1>(), segments.valid.view<1>(), kind,
                                  kind == ChoiceGroup::batch ? 1 : segments.count()};
        expert_choice_slot.get<Real>(tape.device())
            .choose(tape.stream(), score.template view<2>(), groups, share, choice.view<2>());
    });
}

}  // namespace moegrad
