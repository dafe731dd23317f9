#pragma once
// GShardRouter: top-2 with a policy for the second expert and a capacity (Lepikhin et al. 2020, arXiv 2006.16668; as in
// mesh-tensorflow). K is router.top_k: what is said of the second holds for every slot after the first.
//     p = softmax(W_g x),   S = the K best,   g = p over S, normalised over S
//     the second is kept:   policy=all        always
//                           policy=none       never
//                           policy=threshold  where g_2 > threshold
//                           policy=random     with probability min(1, g_2 / threshold): the default, threshold 0.2, in training
//                                             and outside (the paper: 2 g_2, which is threshold=0.5)
//     w = g of what was kept and had a place (capacity, order choice), not normalised again: the token keeps its residual
//     balance loss E sum_e f_e P_e = E^2 mean_e(density proxy), f of first choices alone: a uniform router gives 1
// The code's 1e-9 below g is left out: it changes no float. Its defaults: capacity=1.25, eval_capacity=2; ours is none.

#include <limits>

#include <moegrad/ops/drop_slots.hpp>
#include <moegrad/routing/capacity_limit.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

enum class SecondPolicy { all, none, threshold, random };

inline SecondPolicy second_policy_named(const std::string& name) {
    if (name == "all") return SecondPolicy::all;
    if (name == "none") return SecondPolicy::none;
    if (name == "threshold") return SecondPolicy::threshold;
    if (name == "random") return SecondPolicy::random;
    throw Error{ErrorCode::config, "router.options: policy", "all, none, threshold or random", name};
}

template <class Real>
struct GShardRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::k, GateRouter<Real>::experts;
    static constexpr WeightSum sum = WeightSum::at_most_one;
    SecondPolicy policy = SecondPolicy::random;
    double threshold = 0.2;
    CapacityLimit capacity{};
    std::uint64_t seed = 0;
    PenaltySettings penalties{};

    /// router.options: policy, threshold, and those of CapacityLimit.
    static GShardRouter make(RouterBuild<Real> build) {
        GShardRouter router;
        router.gate = std::move(build.gate);
        router.k = build.top_k;
        router.policy = second_policy_named(build.options.text("policy", "random"));
        if (router.policy == SecondPolicy::threshold || router.policy == SecondPolicy::random)
            router.threshold = build.options.number("threshold", 0.2);
        router.capacity = CapacityLimit::of(build.options, build.experts, "choice");
        router.seed = build.seed;
        router.penalties = build.penalties_or(BalanceLoss::switch_share);
        if (!(router.threshold >= 0)) {
            throw Error{ErrorCode::config, "router.options: threshold", "a number from 0",
                        format("{}", router.threshold)};
        }
        return router;
    }

    RouterScope scope() const { return capacity.scope(); }
    std::vector<PenaltyCoefficient> coefficients() const { return {{"balance", 0.01}}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);
        const auto p = softmax(tape, z);
        const auto choice = top_k(tape, z.value(), k);
        const auto all = classify_slots<Real>(tape, choice, input.segments, experts());
        const auto g = chosen_softmax(tape, z, choice, all);
        const auto thinned = kept(tape, all, g.value(), input);
        Tape aside(tape.context(), Mode::inference);
        const auto chosen = take(aside, Var<Real>(p.value()), choice).value();
        Routing<Real> routing;
        routing.expert = capacity.apply(tape, thinned, chosen, input.segments);
        routing.weight = keep_true(tape, g, routing.expert);
        add_penalties(tape, routing, z, p, choice.columns(0, 1), input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }

private:
    Tensor<std::int32_t> kept(Tape& tape, const Tensor<std::int32_t>& expert, const Tensor<Real>& g,
                              const RouteInput<Real>& input) const {
        if (policy == SecondPolicy::all || k == 1) return expert;
        SlotThinning thinning{threshold, policy == SecondPolicy::random};
        if (policy == SecondPolicy::none) thinning = {std::numeric_limits<double>::infinity(), false};
        return thin_slots(tape, expert, g, input.segments, thinning, DrawKey::of(tape, seed, input.module));
    }
};

}  // namespace moegrad
