#pragma once
// TopPRouter: as many experts as it takes to hold a share of the probability (Dynamic MoE, Huang et al. 2024,
// arXiv 2403.07652).
//     P = softmax(W_g x),   S = smallest prefix of the sorted P with sum > p   (the expert that crosses p is in)
//     w_e = P_e / sum_S P   (ours: equal experts are then the dense block)   or   w_e = P_e   (weights=raw, their code)
// With p >= 1 all experts. Defaults: p = 0.4 (their configuration; MoE-PEFT's "mixlora-dynamic": 0.8, raw).
// crossing=false and keep=N give DynMoLE's prefix, at_most=N bounds the slots.
// nulls=M: M null experts beside the E true ones (AdaMoE names this combination and does not try it). They compete in P; S
// may then hold no true expert, so a token can skip the block. weights, null_map: routing/slot_weights.hpp; identity nulls
// need weights=all or raw.
// Penalties: balance (Switch with f_e = slots on e / tokens, which sums to the load; nulls share their mean) at 1e-2, and
// the "dynamic loss" entropy, -sum P log P per token, at 1e-4: without it a top-p router lowers its loss by flattening.
// A balance loss of kind "switch" divides by all K slots, used or not.

#include <string>

#include <moegrad/ops/top_p.hpp>
#include <moegrad/ops/tsallis_entropy.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/null_gate.hpp>
#include <moegrad/routing/router_build.hpp>
#include <moegrad/routing/slot_weights.hpp>

namespace moegrad {

/// router.options: p, keep, crossing, at_most, for any router that takes a prefix.
inline TopPOptions top_p_options(const RouterOptions& options, TopPOptions usual) {
    usual.p = options.number("p", usual.p);
    usual.keep = options.count("keep", usual.keep);
    usual.crossing = options.flag("crossing", usual.crossing);
    usual.at_most = options.count("at_most", usual.at_most);
    if (usual.p >= 0) return usual;
    throw Error{ErrorCode::config, "router.options: p", "a share from 0", format("{}", usual.p)};
}

template <class Real>
struct TopPRouter {
    static std::string instead_of_top_k(const RouterOptions&) {
        return "set p, keep or at_most in router.options";
    }
    Gate<Real> gate;   // [E, D]
    Gate<Real> gate2;  // [M, D]; undefined when M = 0
    TopPOptions prefix{.p = 0.4};
    SlotWeights weights = SlotWeights::over_true;
    NullMap null_map = NullMap::zero;
    PenaltySettings penalties{};

    /// router.options: those of top_p_options, weights, nulls, null_map.
    static TopPRouter make(RouterBuild<Real> build) {
        const RouterOptions& options = build.options;
        const Index nulls = options.count("nulls", 0);
        TopPRouter router;
        router.prefix = top_p_options(options, router.prefix);
        router.weights = slot_weights_named(options.text("weights", "true"));
        router.null_map = null_map_named(options.text("null_map", "zero"));
        router.penalties = build.penalties_or(nulls > 0 ? BalanceLoss::adamoe_eq6 : BalanceLoss::adamoe_eq3);
        router.gate2 = build.null_gate(nulls);
        router.gate = std::move(build.gate);
        check_null_map(router.weights, router.null_map);
        return router;
    }

    Index slots() const { return prefix.slots(columns()); }
    Index experts() const { return gate.columns(); }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() { return parameters_with_nulls(gate, gate2); }
    std::vector<PenaltyCoefficient> coefficients() const { return {{"balance", 1e-2}, {"entropy", 1e-4}}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const Segments& segments = input.segments;
        const auto z = logits_with_nulls(tape, gate, gate2, input.x, segments);
        const auto p = softmax(tape, z);
        const auto choice = top_p(tape, p.value(), prefix);
        Routing<Real> routing;
        weigh_slots(tape, routing, z, p, choice, segments, experts(), weights, null_map);
        add_penalties(tape, routing, z, p, choice, segments, experts(), penalties);
        constexpr TsallisOptions kShannon{.q = 1, .eps = 0, .normalize = false};
        routing.penalties.push_back(
            {"entropy", tsallis_entropy(tape, p, segments.valid, kShannon), PenaltyUnit::token});
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), segments);
        return routing;
    }

private:
    Index columns() const { return experts() + gate2.columns(); }
};

}  // namespace moegrad
