#pragma once
// DepthRouter: which tokens a layer computes (Mixture-of-Depths, Raposo et al. 2024, arXiv 2404.02258).
// There is one expert, the layer.
//     r_t = <w, x_t>,  x the residual stream before the layer
//     training:    the C = ceil(n capacity) tokens of largest r of each sequence, n its valid tokens;  weight r_t
//     inference:   the tokens with sigmoid(r_t) >= 1/2, which looks at no other token;                 weight r_t
//     penalty "mod", per token: BCE of sigmoid(r_t) against membership in the C best, so that the second rule
//         learns what the first one does:   r - log sigmoid(r) - m r,   m = 1 for the chosen, else 0
// A weight may be negative. Ties go to the lower token.

#include <moegrad/ops/add.hpp>
#include <moegrad/ops/concat.hpp>
#include <moegrad/ops/expert_choice.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/mix.hpp>
#include <moegrad/ops/sigmoid.hpp>
#include <moegrad/ops/take.hpp>
#include <moegrad/ops/top_k.hpp>
#include <moegrad/routing/gate.hpp>
#include <moegrad/routing/router.hpp>

namespace moegrad {

template <class Real>
struct DepthRouter {
    Gate<Real> gate;  // [1, D]
    double capacity = 0.125;

    Index slots() const { return 1; }
    Index experts() const { return 1; }
    RouterScope scope() const { return RouterScope::sequence; }
    std::vector<Parameter<Real>*> parameters() { return gate.parameters(); }
    /// The paper gives no coefficient; a classifier beside the main task asks for little.
    std::vector<PenaltyCoefficient> coefficients() const { return {{"mod", 0.01}}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto r = gate.logits(tape, input.x, input.segments);  // [T, 1]
        Routing<Real> routing;
        routing.expert = tape.training()
                             ? expert_choice(tape, r.value(), input.segments, capacity, ChoiceGroup::segment)
                             : passing(tape, r.value(), input.segments);
        routing.weight = take(tape, r, routing.expert);
        const auto log_p = log_sigmoid(tape, r);
        if (tape.training()) add_membership(tape, routing, r, log_p, input.segments);
        routing.stats =
            route_stats(tape, routing.expert, routing.expert, sigmoid(tape, r).value(), input.segments);
        return routing;
    }

private:
    /// 0 for the tokens with r >= 0, null for the others.
    Tensor<std::int32_t> passing(Tape& tape, const Tensor<Real>& r, const Segments& segments) const {
        const Var<Real> zero(filled<Real>(tape, r.shape(), 0));
        const auto better = top_k(tape, concat(tape, Var<Real>(r), zero).value(), 1);
        return classify_slots<Real>(tape, better, segments, 1);
    }

    void add_membership(Tape& tape, Routing<Real>& routing, const Var<Real>& r, const Var<Real>& log_p,
                        const Segments& segments) const {
        const Var<Real> minus(filled<Real>(tape, r.shape(), -1));
        const auto loss = add(tape, r, mix(tape, minus, add(tape, log_p, routing.weight)));
        const auto valid = classify_slots<Real>(tape, top_k(tape, r.value(), 1), segments, 1);
        const auto counted = keep_true(tape, loss, valid);
        routing.penalties.push_back({"mod",
                                     Var<Real>(counted.value().reshape({r.extent(0)}), counted.gradient()),
                                     PenaltyUnit::token});
    }
};

}  // namespace moegrad
