#pragma once
// RatioRouter: top-K, and an expert after the first stays only where it comes close to the first one. A control for routers
// that learn how many experts a token needs: a threshold on p_2 / p_1, set to the same load, needs no training.
//     S = top-K of p (best first);  slot 0 stays;  slot k > 0 stays where p_k >= threshold p_1
//     w = softmax of the logits over what stayed
// threshold 0 is top-K, above 1 top-1.

#include <moegrad/ops/top_p.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct RatioRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::k, GateRouter<Real>::experts;
    static constexpr WeightSum sum = WeightSum::one;
    double threshold = 0.5;
    PenaltySettings penalties{};

    /// router.options: threshold.
    static RatioRouter make(RouterBuild<Real> build) {
        RatioRouter router;
        router.gate = std::move(build.gate);
        router.k = build.top_k;
        router.threshold = build.options.number("threshold", 0.5);
        router.penalties = build.penalties_or(BalanceLoss::none);
        router.check();
        return router;
    }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);
        const auto p = softmax(tape, z);
        const auto choice = top_p(tape, p.value(), {.p = 1, .ratio = threshold, .at_most = k});
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, input.segments, experts());
        routing.weight = chosen_softmax(tape, z, choice, routing.expert);
        add_penalties(tape, routing, z, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }

    /// Throws when the settings fit no layer; called by whoever builds the router.
    void check() const {
        if (k < 1 || k > experts()) {
            throw Error{ErrorCode::config, "router.top_k", format("1 to {} (the experts)", experts()),
                        format("{}", k)};
        }
        if (threshold >= 0) return;
        throw Error{ErrorCode::config, "router.options: threshold", "a ratio from 0",
                    format("{}", threshold)};
    }
};

}  // namespace moegrad
