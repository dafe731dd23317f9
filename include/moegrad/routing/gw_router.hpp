#pragma once
// GwRouter: GW-MoE (arXiv 2406.12375). While it trains, a token whose router is not sure is sent to all experts, so that
// any of them has what it needs later; outside training it is the base's own top-K.
//     p = softmax(W_g x) over all E,   H = -sum_e p_e log(p_e + 1e-5)   in nats
//     uncertain   all E experts, w_e = p_e                              (they sum to 1; every logit has a gradient)
//     else        top-K, w_e = p_e / sum_S p   or   w_e = p_e           (as the base has it)
// What is uncertain, one of:
//     threshold   H >= threshold                       decided by the token alone
//     tau         H >= tau ln E                        (paper: 0.77 to 0.87 of ln 8; the usual one, 0.77)
//     quantile    H >= that quantile of the micro-batch's H: how a step is cut then matters (scope batch)
// slots   at most so many tokens of a sequence, the first ones (scope sequence); -1: all. The code's cap, where -1 sends
//         none and the rest fall back to top-1; ours fall back to top-K. Padding is never sent and takes no slot.
// score   softmax, or sigmoid: H is that of sigma(z) / sum sigma(z)   (bases that score experts one by one)
// match_mass   the weights of an uncertain token are multiplied by sum_S p, a constant: for bases with w_e = p_e, whose
//              output would jump where tokens become uncertain.
// The equations of the paper; its code never runs the experts for these tokens and is not followed. K = E slots always:
// who runs it at inference plans for T E rows and uses T K. A balance loss counts the top-K alone.

#include <cmath>

#include <moegrad/ops/broadcast_slots.hpp>
#include <moegrad/ops/concat.hpp>
#include <moegrad/ops/entropy.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/mix.hpp>
#include <moegrad/ops/sigmoid.hpp>
#include <moegrad/ops/uncertain_tokens.hpp>
#include <moegrad/routing/router_build.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

enum class GwScore { softmax, sigmoid };

template <class Real>
struct GwRouter {
    static constexpr double kEps = 1e-5;  // of the released code

    Gate<Real> gate;
    Index k = 2;
    UncertainOptions uncertain{};
    TopKWeights weights = TopKWeights::renormalized;
    GwScore score = GwScore::softmax;
    bool match_mass = false;
    PenaltySettings penalties{};

    /// router.options: threshold, tau or quantile; slots, weights (renormalized or raw), score, match_mass.
    static GwRouter make(RouterBuild<Real> build) {
        const RouterOptions& options = build.options;
        const bool raw = !options.either("weights", "renormalized", "raw");
        const bool by_softmax = options.either("score", "softmax", "sigmoid");
        GwRouter router{.gate = std::move(build.gate),
                        .k = build.top_k,
                        .uncertain = limit_of(options, build.experts),
                        .weights = raw ? TopKWeights::raw : TopKWeights::renormalized,
                        .score = by_softmax ? GwScore::softmax : GwScore::sigmoid,
                        .match_mass = options.flag("match_mass", false),
                        .penalties = build.penalties_or(BalanceLoss::none)};
        if (!raw && router.match_mass)
            throw Error{ErrorCode::config, "router.options: match_mass", "weights=raw with match_mass=true",
                        "weights=renormalized", "they sum to 1 already, as those of all experts do"};
        router.check();
        return router;
    }

    Index slots() const { return experts(); }
    Index experts() const { return gate.columns(); }
    RouterScope scope() const {
        if (uncertain.by_quantile()) return RouterScope::batch;
        return uncertain.slots >= 0 ? RouterScope::sequence : RouterScope::token;
    }
    std::vector<Parameter<Real>*> parameters() { return gate.parameters(); }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);
        const auto p = softmax(tape, z);
        const auto choice = top_k(tape, z.value(), k);
        const auto base = classify_slots<Real>(tape, choice, input.segments, experts());
        const auto own =
            widened(tape, weights == TopKWeights::renormalized ? chosen_softmax(tape, z, choice, base)
                                                               : take(tape, p, base));
        Routing<Real> routing;
        auto wide = choice;
        if (tape.training()) {
            Tape aside(tape.context(), Mode::inference);
            const auto h = uncertainty(aside, z.value(), p.value());
            const auto tokens = uncertain_tokens(tape, h, input.segments, uncertain);
            wide = broadcast_slots(tape, choice, tokens.score, 0.5, experts(), Broadcast::from);
            routing.expert = classify_slots<Real>(tape, wide, input.segments, experts());
            auto all = take(tape, p, routing.expert);
            if (match_mass) all = mix(tape, chosen_mass(aside, p, base), all);
            routing.weight = mix(tape, Var<Real>(tokens.branch), concat(tape, own, all));
            routing.traces.push_back({"broadcast", tokens.score});
        } else {
            const auto none = filled<Real>(tape, {choice.extent(0)}, 0);
            wide = broadcast_slots(tape, choice, none, INFINITY, experts());
            routing.expert = classify_slots<Real>(tape, wide, input.segments, experts());
            routing.weight = own;
        }
        add_penalties(tape, routing, z, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, wide, p.value(), input.segments);
        return routing;
    }

    /// Throws when the settings fit no layer; called by whoever builds the router.
    void check() const {
        if (k < 1 || k > experts())
            throw Error{ErrorCode::config, "router.top_k", format("1 to {} (the experts)", experts()),
                        format("{}", k)};
        if (!(uncertain.quantile <= 1))
            throw Error{ErrorCode::config, "router.options: quantile", "0 to 1",
                        format("{}", uncertain.quantile)};
    }

private:
    static UncertainOptions limit_of(const RouterOptions& options, Index experts) {
        constexpr double kNone = -1e300;
        const double threshold = options.number("threshold", kNone), tau = options.number("tau", kNone),
                     quantile = options.number("quantile", kNone), slots = options.number("slots", -1);
        const int given = (threshold != kNone) + (tau != kNone) + (quantile != kNone);
        if (given > 1 || (quantile != kNone && quantile < 0))
            throw Error{ErrorCode::config, "router.options", "threshold, tau or a quantile from 0",
                        given > 1 ? "more than one of them" : format("{}", quantile)};
        if (slots != std::floor(slots) || slots < -1 || slots > 1e9)
            throw Error{ErrorCode::config, "router.options: slots", "a whole number, -1 for all",
                        format("{}", slots)};
        const double share = tau != kNone ? tau : 0.77;
        return {.threshold = threshold != kNone ? threshold : share * std::log(static_cast<double>(experts)),
                .quantile = quantile != kNone ? quantile : -1,
                .slots = static_cast<Index>(slots)};
    }
    /// H [T].
    Tensor<Real> uncertainty(Tape& aside, const Tensor<Real>& z, const Tensor<Real>& p) const {
        if (score == GwScore::softmax) return entropy(aside, Var<Real>(p), kEps).value();
        return entropy(aside, softmax(aside, log_sigmoid(aside, Var<Real>(z))), kEps).value();
    }
    /// w [T, K] and zeros up to E columns.
    Var<Real> widened(Tape& tape, const Var<Real>& w) const {
        if (k == experts()) return w;
        return concat(tape, w, Var<Real>(filled<Real>(tape, {w.extent(0), experts() - k}, 0)));
    }
    /// sum_S p [T, 1], without a gradient.
    Var<Real> chosen_mass(Tape& aside, const Var<Real>& p, const Tensor<std::int32_t>& base) const {
        const Var<Real> ones(filled<Real>(aside, base.shape(), 1));
        return mix(aside, ones, take(aside, Var<Real>(p.value()), base));
    }
};

}  // namespace moegrad
