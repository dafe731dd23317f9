#pragma once
// BiasRouter: balance without a loss, by a bias that only the choice sees (Wang et al. 2024, arXiv 2408.15664), and
// DeepSeek-V3's router around it (arXiv 2412.19437): sigmoid scores, groups, weights from the unbiased scores.
//     s = sigmoid(W_g x)                                        or softmax
//     S = top-K of s + b, of the best groups only               selection_bias.hpp (b and its update), ops/group_limit.hpp
//     w_e = c s_e / sum_S s                                     or c s_e
//     dz_j = c u_j (g_j - sum_S u g) (1 - s_j),   u = w / c     b gets no gradient
// With M null experts (AdaMoE's, one bias for all of them) the targets of b set the load, the true experts per token: an
// extension of ours, no null loss has to find it. Weights are then over the true experts, or over all.
// A quotient of sigmoids is a softmax of their logarithms: right also where all underflow, where the reference adds 1e-20
// to the sum. A balance loss takes P = s / sum s over all columns, as DeepSeek's sequence loss (aux = "seq").
// With softmax scores b lives on the scale of p, about 1 / E: the rate is then 0.01 / E unless said. b starts at 0
// and moves in fine-tuning too, by 1e-3 a step as in pretraining; a base that was pretrained with a bias would keep it: that
// is rate=0, a frozen bias.

#include <moegrad/ops/group_limit.hpp>
#include <moegrad/ops/mix.hpp>
#include <moegrad/ops/sigmoid.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/null_gate.hpp>
#include <moegrad/routing/router_build.hpp>
#include <moegrad/routing/selection_bias.hpp>
#include <moegrad/routing/slot_weights.hpp>

namespace moegrad {

template <class Real>
struct BiasRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::k, GateRouter<Real>::experts;
    static constexpr bool learns_in_place = true;
    Gate<Real> gate2;  // [M, D]; undefined when M = 0
    SelectionBias<Real> bias;
    bool sigmoid_scores = true;
    SlotWeights weights = SlotWeights::over_true;
    NullMap null_map = NullMap::zero;
    GroupLimit limit{};
    double scale = 1;  // c
    PenaltySettings penalties{};

    /// router.options: score (sigmoid, softmax), normalise, scale, rate, recentre; groups, top_groups, group_best;
    /// nulls, load, null_map (zero, identity), null_weights (true, all; not with normalise=false).
    static BiasRouter make(RouterBuild<Real> build) {
        BiasRouter router;
        const RouterOptions& options = build.options;
        const Index E = build.experts, M = options.count("nulls", 0);
        const auto K = static_cast<double>(build.top_k), columns = static_cast<double>(E + M);
        router.k = build.top_k;
        router.sigmoid_scores = options.either("score", "sigmoid", "softmax");
        router.bias.b = build.zeros("bias", {E + M, 1});
        router.bias.b->set_trainable(false);
        router.bias.experts = E;
        router.bias.rate =
            options.number("rate", router.sigmoid_scores ? 1e-3 : 0.01 / static_cast<double>(E));
        router.bias.recentre = options.flag("recentre", true);
        router.scale = options.number("scale", 1);
        if (M > 0) {
            router.gate2 = build.null_gate(M);
            router.bias.load = options.number("load", K * static_cast<double>(E) / columns);
            if (!options.either("null_map", "zero", "identity")) router.null_map = NullMap::identity;
        }
        if (!options.flag("normalise", true)) {
            router.weights = SlotWeights::raw;
        } else if (M > 0) {
            const bool over_true = router.null_map == NullMap::zero
                                       ? options.either("null_weights", "true", "all")
                                       : !options.either("null_weights", "all", "true");
            if (!over_true) router.weights = SlotWeights::over_all;
        }
        router.limit = {E, options.count("groups", 1), 1, 2};
        if (router.limit.groups > 1) {
            router.limit.keep = options.count("top_groups", (router.limit.groups + 1) / 2);
            router.limit.best = options.count("group_best", 2);
        }
        router.penalties = build.penalties;
        router.gate = std::move(build.gate);
        router.check();
        return router;
    }

    Index nulls() const { return gate2.columns(); }
    std::vector<Parameter<Real>*> parameters() {
        auto all = parameters_with_nulls(gate, gate2);
        all.push_back(bias.b.get());
        return all;
    }
    void after_step(const RoutingTotals& totals) { bias.after_step(totals, k); }
    std::vector<double> state() const { return bias.state(); }
    void set_state(std::span<const double> values) { bias.set_state(values); }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = logits_with_nulls(tape, gate, gate2, input.x, input.segments);
        const auto score = sigmoid_scores ? sigmoid(tape, z) : softmax(tape, z);
        const auto log_score = sigmoid_scores ? log_sigmoid(tape, z) : z;  // softmax: but for a constant
        const auto p = sigmoid_scores ? softmax(tape, log_score) : score;
        auto biased = bias.added(tape, score.value());
        if (limit.groups > 1) biased = group_limit(tape, biased, limit);
        const auto choice = top_k(tape, biased, k);
        Routing<Real> routing;
        weigh_slots(tape, routing, log_score, score, choice, input.segments, experts(), weights, null_map);
        if (scale != 1) {
            const Var<Real> c(filled<Real>(tape, {input.x.extent(0), 1}, scale));
            routing.weight = mix(tape, c, routing.weight);
        }
        add_penalties(tape, routing, z, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }

    /// Throws when the settings contradict each other; called by whoever builds the router.
    void check() const {
        const Index E = experts(), M = nulls(), G = limit.groups, left = limit.least() + M;
        require(k >= 1 && k <= E + M, "nulls", format("a top_k of 1 to {}", E + M), k);
        require(G >= 1 && G <= E, "groups", format("1 to {}", E), G);
        require(limit.keep >= 1 && limit.keep <= G, "top_groups", format("1 to {}", G), limit.keep);
        require(G == 1 || left >= k, "top_groups", format("room for {} slots", k), left);
        require(limit.best == 1 || limit.best == 2, "group_best", "1 or 2", limit.best);
        require(bias.rate >= 0, "rate", "at least 0", bias.rate);
        const bool reachable = bias.load >= 0 && bias.load <= static_cast<double>(k);
        require(M == 0 || reachable, "load", format("0 to {} (the top_k)", k), bias.load);
        require(scale > 0 && (scale == 1 || null_map == NullMap::zero), "scale",
                "above 0, and 1 with identity nulls", scale);
        check_null_map(weights, null_map);
    }

private:
    template <class Value>
    static void require(bool fits, const char* key, const std::string& expected, const Value& got) {
        if (fits) return;
        throw Error{ErrorCode::config, format("router.options: {}", key), expected, format("{}", got)};
    }
};

}  // namespace moegrad
