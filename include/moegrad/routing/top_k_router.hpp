#pragma once
// TopKRouter: softmax over all E logits, the K largest, their probabilities as weights; renormalised over the K
// (Mixtral, Qwen3-MoE: equal to a softmax over the chosen logits) or raw (OLMoE, Qwen1.5-MoE).
//     p = softmax(W_g x),   S = top-K of the logits (ties: lowest index),   w_e = p_e / sum_S p   or   w_e = p_e

#include <moegrad/ops/top_k.hpp>
#include <moegrad/routing/chosen_routing.hpp>
#include <moegrad/routing/gate.hpp>

namespace moegrad {

template <class Real>
struct TopKRouter {
    Gate<Real> gate;
    Index k = 2;
    TopKWeights weights = TopKWeights::renormalized;
    PenaltySettings penalties{};
    std::vector<PenaltyCoefficient> usual = {};  // coefficients, where the configuration gives none

    std::vector<PenaltyCoefficient> coefficients() const { return usual; }
    Index slots() const { return k; }
    Index experts() const { return gate.columns(); }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() { return gate.parameters(); }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);
        const auto p = softmax(tape, z);
        const auto choice = top_k(tape, z.value(), k);
        return chosen_routing(tape, z, p, choice, input.segments, weights, penalties);
    }
};

}  // namespace moegrad
