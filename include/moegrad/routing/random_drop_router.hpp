#pragma once
// RandomDropRouter: top-K as the checkpoint has it, and every expert after the first is kept with one probability, so
// that tokens use `load` experts on average whatever they say. The control for routers that claim to save experts where
// they are not needed: the same compute, spent blindly.
//     S = top-K of the logits (best first);  slot 0 stays;  slot k > 0 stays with probability (load - 1) / (K - 1)
//     w = softmax of the logits over what stayed
// Draws are those of ops/drop_slots.hpp, keyed by (seed, step, module; sample, position, slot). Outside training
// there is no step: a text is cut the same way whenever it is evaluated.

#include <moegrad/ops/drop_slots.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct RandomDropRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::k, GateRouter<Real>::experts;
    static constexpr WeightSum sum = WeightSum::one;
    double load = 1.5;  // 1 .. K
    std::uint64_t seed = 0;
    PenaltySettings penalties{};

    /// router.options: load.
    static RandomDropRouter make(RouterBuild<Real> build) {
        RandomDropRouter router;
        router.gate = std::move(build.gate);
        router.k = build.top_k;
        router.load = build.options.number("load", std::min(1.5, static_cast<double>(build.top_k)));
        router.seed = build.seed;
        router.penalties = build.penalties;
        router.check();
        return router;
    }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);
        const auto p = softmax(tape, z);
        const auto choice = top_k(tape, z.value(), k);
        const auto all = classify_slots<Real>(tape, choice, input.segments, experts());
        const auto kept = drop_slots<Real>(tape, choice, all, input.segments, rate(),
                                           DrawKey::of(tape, seed, input.module));
        Routing<Real> routing;
        routing.expert = kept.expert;
        routing.weight = chosen_softmax(tape, z, choice, routing.expert);
        add_penalties(tape, routing, z, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, kept.choice, p.value(), input.segments);
        return routing;
    }

    /// Throws when there is no such load; called by whoever builds the router.
    void check() const {
        if (k >= 1 && k <= experts() && load >= 1 && load <= static_cast<double>(k)) return;
        throw Error{ErrorCode::config, "router.options: load", format("1 to {} (the top_k)", k),
                    format("{}", load)};
    }

private:
    double rate() const { return k > 1 ? 1 - (load - 1) / static_cast<double>(k - 1) : 0; }
};

}  // namespace moegrad
