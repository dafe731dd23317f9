#pragma once
// SwitchRouter: one expert per token, weighed by its raw probability (Fedus et al. 2021, arXiv 2101.03961; as in
// mesh-tensorflow).
//     p = softmax(W_g x'),   x' = x u in training, u uniform in (1 - jitter, 1 + jitter); the experts get x
//     e = argmax p,   w = p_e, not normalised: so the gate learns from the task
//     balance loss E sum_e f_e P_e = E^2 mean_e(density proxy): a uniform router gives 1
// A token whose expert has no place keeps its residual. capacity_order=token (the default): in token order;
// capacity_order=priority: each expert keeps its most probable tokens ("switch_max", batch priority routing).
// Always top-1: router.top_k is not read. The paper's capacity is 1.25 (1 to 2); ours is none unless set. Jitter 0.01.

#include <moegrad/routing/capacity_limit.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/jitter.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct SwitchRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::k, GateRouter<Real>::experts;
    static constexpr WeightSum sum = WeightSum::at_most_one;
    static Index most_slots(const RouterSize&) { return 1; }
    static std::string instead_of_top_k(const RouterOptions&) { return "a token has one expert, always"; }
    double jitter = 0.01;
    CapacityLimit capacity{};
    std::uint64_t seed = 0;
    PenaltySettings penalties{};

    /// router.options: jitter, and those of CapacityLimit.
    static SwitchRouter make(RouterBuild<Real> build) {
        SwitchRouter router;
        router.gate = std::move(build.gate);
        router.k = 1;
        router.jitter = checked_jitter(build.options.number("jitter", 0.01));
        router.capacity = CapacityLimit::of(build.options, build.experts, "token");
        router.seed = build.seed;
        router.penalties = build.penalties_or(BalanceLoss::switch_share);
        return router;
    }

    RouterScope scope() const { return capacity.scope(); }
    std::vector<PenaltyCoefficient> coefficients() const { return {{"balance", 0.01}}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, jittered(tape, input, jitter, seed), input.segments);
        const auto p = softmax(tape, z);
        const auto choice = top_k(tape, z.value(), 1);
        const auto all = classify_slots<Real>(tape, choice, input.segments, experts());
        const auto w = take(tape, p, all);
        Routing<Real> routing;
        routing.expert = capacity.apply(tape, all, w.value(), input.segments);
        routing.weight = keep_true(tape, w, routing.expert);
        add_penalties(tape, routing, z, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }
};

}  // namespace moegrad
