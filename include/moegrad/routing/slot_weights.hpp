#pragma once
// slot_weights: from the columns that a token chose to what its Routing says, for any router over E true and M null
// columns (true ones first).   S: the chosen columns of a token, z its logits, p its probabilities
//     over_true   w_e = p_e / sum_{j in S, j < E} p_j    AdaMoE's option 2; all-null token: no weight
//     over_all    w_e = p_e / sum_{j in S} p_j           option 1
//     raw         w_e = p_e
// A null column costs no row. With NullMap::identity it passes the token itself through, with its weight: this needs
// weights that nulls have, over_all or raw.

#include <string>

#include <moegrad/routing/chosen_softmax.hpp>
#include <moegrad/routing/router.hpp>

namespace moegrad {

enum class SlotWeights { over_true, over_all, raw };
enum class NullMap { zero, identity };

/// By the names that router.null_weights has for the first two.
inline SlotWeights slot_weights_named(const std::string& name) {
    if (name == "true") return SlotWeights::over_true;
    if (name == "all") return SlotWeights::over_all;
    if (name == "raw") return SlotWeights::raw;
    throw Error{ErrorCode::config, "router.options: weights", "true, all or raw", name};
}
inline NullMap null_map_named(const std::string& name) {
    if (name == "zero") return NullMap::zero;
    if (name == "identity") return NullMap::identity;
    throw Error{ErrorCode::config, "router.options: null_map", "zero or identity", name};
}

/// Sets expert, weight and passthrough. choice [T, K] columns of z and p [T, E + M], negative: unused. p is read with raw
/// weights only.
template <class Real>
void weigh_slots(Tape& tape, Routing<Real>& routing, const Var<Real>& z, const Var<Real>& p,
                 const Tensor<std::int32_t>& choice, const Segments& segments, Index true_experts,
                 SlotWeights weights, NullMap nulls = NullMap::zero) {
    routing.expert = classify_slots<Real>(tape, choice, segments, true_experts);
    if (weights == SlotWeights::over_true) {
        routing.weight = chosen_softmax(tape, z, choice, routing.expert);
        return;
    }
    const bool raw = weights == SlotWeights::raw;
    if (z.extent(1) == true_experts) {
        routing.weight =
            raw ? take(tape, p, routing.expert) : chosen_softmax(tape, z, choice, routing.expert);
        return;
    }
    const auto all = raw ? take(tape, p, choice) : chosen_softmax(tape, z, choice, choice);
    routing.weight = keep_true(tape, all, routing.expert);
    if (nulls == NullMap::identity) routing.passthrough = null_weight(tape, all, routing.expert);
}

/// The same from shares p >= 0 that no logits stand for, over_true or over_all.
template <class Real>
void weigh_shares(Tape& tape, Routing<Real>& routing, const Var<Real>& p, const Tensor<std::int32_t>& choice,
                  const Segments& segments, Index true_experts, SlotWeights weights, NullMap nulls) {
    routing.expert = classify_slots<Real>(tape, choice, segments, true_experts);
    if (weights == SlotWeights::over_true || p.extent(1) == true_experts) {
        routing.weight = renormalize(tape, take(tape, p, routing.expert), routing.expert);
        return;
    }
    const auto all = renormalize(tape, take(tape, p, choice), choice);
    routing.weight = keep_true(tape, all, routing.expert);
    if (nulls == NullMap::identity) routing.passthrough = null_weight(tape, all, routing.expert);
}

/// Throws for identity nulls that would have no weight.
inline void check_null_map(SlotWeights weights, NullMap nulls) {
    if (nulls == NullMap::zero || weights != SlotWeights::over_true) return;
    throw Error{ErrorCode::config, "null experts", "weights over all slots with identity nulls",
                "weights over the true experts",
                "over the true experts a null slot has no weight; set null_weights = \"all\""};
}

}  // namespace moegrad
