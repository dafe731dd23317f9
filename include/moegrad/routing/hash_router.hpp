#pragma once
// HashRouter: a token's experts stand in a fixed random table of token ids (Roller et al. 2021, arXiv 2106.04426; as in
// ParlAI). No gate, no weight to learn, no loss.
//     S = table[token id], one expert or `per_token` different ones,   w = 1 / |S|
// Options: seed of the table (42, ParlAI's; not the run's), per_token (1; in the place of router.top_k). Each layer has a
// table of its own. Not here: tables balanced by the frequency of ids, bigrams, hashes of parts of an expert.

#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/hash_choice.hpp>
#include <moegrad/ops/renormalize.hpp>
#include <moegrad/ops/scatter.hpp>
#include <moegrad/routing/require_finite.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct HashRouter {
    static constexpr WeightSum sum = WeightSum::one;
    static constexpr bool relabels = false;  // the numbers of the experts stand in a table
    static std::string instead_of_top_k(const RouterOptions&) { return "set per_token in router.options"; }
    Index total = 0;  // E
    Index k = 1;
    std::uint64_t seed = 42;

    /// router.options: seed, per_token.
    static HashRouter make(RouterBuild<Real> build) {
        HashRouter router;
        router.total = build.experts;
        router.k = build.options.count("per_token", 1);
        router.seed = static_cast<std::uint64_t>(build.options.count("seed", 42));
        if (router.k >= 1 && router.k <= router.total) return router;
        throw Error{ErrorCode::config, "router.options: per_token", format("1 to {}", router.total),
                    format("{}", router.k)};
    }

    Index slots() const { return k; }
    Index experts() const { return total; }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() { return {}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        require_finite(tape, input.x);
        const auto choice = hash_choice<Real>(tape, input.token, total, k, seed, input.module);
        const Var<Real> ones(filled<Real>(tape, choice.shape(), 1));
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, input.segments, total);
        routing.weight = renormalize(tape, ones, routing.expert);
        const auto p = scatter(tape, routing.weight, choice, total);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }
};

}  // namespace moegrad
