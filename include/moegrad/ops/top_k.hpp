#pragma once
// top_k: the K best columns of each row, best first.   scores [T, G E] -> columns within the group [T, G K]
// Order: higher score first; equal scores (-0 equals 0): lower column first. A NaN is an error that names its
// token. Not differentiable; the values are read with `take`. Where the tape carries selections (a
// checkpointed segment), the first run records the choice and the replay returns it without looking at the
// scores.
// Saved: nothing.

#include <moegrad/autograd/recorded_choice.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct TopKKernels {
    void (*forward)(Stream, View<const Real, 2> scores, View<std::int32_t, 2> choice, Index groups);
};

inline constinit KernelSlot<TopKKernels> top_k_slot{"top_k", Proof::reference};

/// scores [T, G E] -> [T, G K], columns 0 .. E-1 of their group, best first. 1 <= K <= E.
template <class Real>
Tensor<std::int32_t> top_k(Tape& tape, const Tensor<Real>& scores, Index K, Index groups = 1) {
    const bool fits = scores.shape().rank() == 2 && groups >= 1 && scores.extent(1) % groups == 0;
    if (!fits || K < 1 || K > scores.extent(1) / groups) {
        throw Error{ErrorCode::shape, "top_k", "scores [T, G E] with 1 <= K <= E",
                    format("scores {}, K {}, groups {}", scores.shape().text(), K, groups)};
    }
    return recorded_choice(
        tape, "top_k", {scores.extent(0), groups * K}, [&](const Tensor<std::int32_t>& choice) {
            top_k_slot.get<Real>(tape.device())
                .forward(tape.stream(), scores.template view<2>(), choice.template view<2>(), groups);
        });
}

}  // namespace moegrad
