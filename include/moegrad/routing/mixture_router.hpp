#pragma once
// MixtureRouter: J sub-routers and a main router that weighs them (Mixture of Routers, arXiv 2503.23362). The paper's
// combination is not known to us in detail; the four readings below are ours, A is the default.
//     a = softmax(W_m x) in R^J
//     A probabilities  P = sum_j a_j softmax(W_j x)                      then top-K of P
//     B logits         P = softmax(sum_j a_j W_j x)                      then top-K
//     C vote           G_j = top-K of softmax(W_j x), renormalised;  P = sum_j a_j G_j;  then top-K of P
//     D free weights   A with a = softmax(theta), one vector for all tokens
// Weights: P renormalised over the K chosen. J = 1 is the plain top-K router in all four.
// With M null experts every W_j has M rows more, and weights are over the true experts or over all (slot_weights.hpp), as in
// AdaMoE: J = 1 is its router then. Unlike there, the task loss reaches the rows of nulls even with weights over the true
// experts: a_j softmax(W_j x) of two sub-routers with different null mass do not share a denominator.
// A main router that collapses to one sub-router is a plain router in disguise: its entropy is a trace of every step.

#include <moegrad/ops/concat.hpp>
#include <moegrad/ops/entropy.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/mix.hpp>
#include <moegrad/ops/scatter.hpp>
#include <moegrad/routing/slot_weights.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

enum class MixtureKind { probabilities, logits, vote, free_weights };

inline MixtureKind mixture_kind_named(const std::string& name) {
    if (name == "A") return MixtureKind::probabilities;
    if (name == "B") return MixtureKind::logits;
    if (name == "C") return MixtureKind::vote;
    if (name == "D") return MixtureKind::free_weights;
    throw Error{ErrorCode::config, "router.mixture", "A, B, C or D", name};
}

template <class Real>
struct MixtureRouter {
    std::vector<Gate<Real>> sub;             // J gates [E, D]
    std::vector<Gate<Real>> sub_nulls = {};  // J gates [M, D]; empty when M = 0
    std::shared_ptr<Parameter<Real>> main;   // W_m [J, D]; theta [J, 1] for D
    MixtureKind kind = MixtureKind::probabilities;
    Index k = 2;
    SlotWeights weights = SlotWeights::over_true;
    NullMap null_map = NullMap::zero;
    PenaltySettings penalties{};

    Index slots() const { return k; }
    Index experts() const { return sub.front().columns(); }
    Index nulls() const { return sub_nulls.empty() ? 0 : sub_nulls.front().columns(); }
    Index routers() const { return static_cast<Index>(sub.size()); }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() {
        std::vector<Parameter<Real>*> all;
        for (auto* gates : {&sub, &sub_nulls}) {
            for (auto& gate : *gates) {
                for (auto* parameter : gate.parameters()) {
                    if (std::find(all.begin(), all.end(), parameter) == all.end()) all.push_back(parameter);
                }
            }
        }
        all.push_back(main.get());
        return all;
    }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        auto z = logits(tape, input, 0);  // [T, J (E + M)]
        for (std::size_t j = 1; j < sub.size(); ++j) z = concat(tape, z, logits(tape, input, j));
        const auto a = main_weights(tape, input);
        const auto p = mixed(tape, a, z);
        const auto choice = top_k(tape, p.value(), k);
        Routing<Real> routing;
        weigh_shares(tape, routing, p, choice, input.segments, experts(), weights, null_map);
        add_penalties(tape, routing, z, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        Tape aside(tape.context(), Mode::inference);
        routing.traces.push_back({"main_entropy", entropy(aside, Var<Real>(a.value())).value()});
        return routing;
    }

    /// Throws when the settings contradict each other; called by whoever builds the router.
    void check() const {
        if (sub.empty()) throw Error{ErrorCode::config, "router.routers", "at least 1", "0"};
        check_null_map(weights, null_map);
        if (k >= 1 && k <= experts() + nulls()) return;
        throw Error{ErrorCode::config, "router.top_k",
                    format("1 to {} (the experts, true and null)", experts() + nulls()), format("{}", k)};
    }

private:
    /// Of sub-router j [T, E + M].
    Var<Real> logits(Tape& tape, const RouteInput<Real>& input, std::size_t j) {
        const auto z = sub[j].logits(tape, input.x, input.segments);
        if (sub_nulls.empty()) return z;
        return concat(tape, z, sub_nulls[j].logits(tape, input.x, input.segments));
    }
    /// a [T, J].
    Var<Real> main_weights(Tape& tape, const RouteInput<Real>& input) {
        if (kind != MixtureKind::free_weights) return softmax(tape, wide_linear(tape, input.x, main->use()));
        const Var<Real> ones(filled<Real>(tape, {input.x.extent(0), 1}, 1));
        return softmax(tape, linear(tape, ones, main->use()));
    }

    /// P [T, E + M] from a [T, J] and z [T, J (E + M)].
    Var<Real> mixed(Tape& tape, const Var<Real>& a, const Var<Real>& z) {
        if (kind == MixtureKind::logits) return softmax(tape, mix(tape, a, z));
        const auto each = softmax(tape, z, routers());
        if (kind != MixtureKind::vote) return mix(tape, a, each);
        const auto vote = top_k(tape, z.value(), k, routers());
        const auto share = renormalize(tape, take(tape, each, vote, routers()), vote, routers());
        return mix(tape, a, scatter(tape, share, vote, experts() + nulls(), routers()));
    }
};

}  // namespace moegrad
