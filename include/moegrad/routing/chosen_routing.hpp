#pragma once
// chosen_routing: from the columns that a token chose to its Routing, for any router over true experts alone. With null
// experts: slot_weights.hpp.

#include <moegrad/routing/chosen_softmax.hpp>
#include <moegrad/routing/penalties.hpp>

namespace moegrad {

/// w_e = p_e / sum_S p   or   w_e = p_e,   S the chosen columns of a token.
enum class TopKWeights { renormalized, raw };

/// What follows from a choice of columns of z [T, E], p = softmax(z): experts, weights, penalties and statistics.
template <class Real>
Routing<Real> chosen_routing(Tape& tape, const Var<Real>& z, const Var<Real>& p,
                             const Tensor<std::int32_t>& choice, const Segments& segments,
                             TopKWeights weights, const PenaltySettings& penalties) {
    const Index E = z.extent(1);
    Routing<Real> routing;
    routing.expert = classify_slots<Real>(tape, choice, segments, E);
    routing.weight = weights == TopKWeights::renormalized ? chosen_softmax(tape, z, choice, routing.expert)
                                                          : take(tape, p, routing.expert);
    add_penalties(tape, routing, z, p, choice, segments, E, penalties);
    routing.stats = route_stats(tape, routing.expert, choice, p.value(), segments);
    return routing;
}

}  // namespace moegrad
