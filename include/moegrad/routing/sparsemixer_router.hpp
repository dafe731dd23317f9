#pragma once
// SparsemixerRouter: experts sampled one after the other among near ties, with a gradient for the gate even at K = 1
// (Liu et al. 2023, arXiv 2310.00811; Phi-3.5-MoE has K = 2). ops/sparsemixer.hpp has the equations.
//     slot k: near ties of the best expert that is left, |m - z_e| <= 2 jitter max(|z_e|, m);  training: one drawn from their
//     softmax, outside: the best;  w = its probability among them;  the next slot is drawn without it
//     training: w / 3 for three quarters of the draws that are not the best one (heun=false: never); the gradient is that of w
// The weights are near 1 each and do not sum to 1: over a gate that was not trained so, K > 1 adds the experts up.
// Options: jitter (0.01), sample (true), heun (true), input_jitter (0; Phi-3.5's code has 0.01, there for the experts too).

#include <moegrad/ops/sparsemixer.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/jitter.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct SparsemixerRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::k, GateRouter<Real>::experts;
    static constexpr WeightSum sum = WeightSum::each_at_most_one;
    SparsemixerOptions options{.jitter = 0.01, .sample = true, .heun = true};
    double input_jitter = 0;
    std::uint64_t seed = 0;
    PenaltySettings penalties{};

    /// router.options: jitter, sample, heun, input_jitter.
    static SparsemixerRouter make(RouterBuild<Real> build) {
        SparsemixerRouter router;
        router.gate = std::move(build.gate);
        router.k = build.top_k;
        router.options.jitter = checked_jitter(build.options.number("jitter", 0.01));
        router.options.sample = build.options.flag("sample", true);
        router.options.heun = build.options.flag("heun", true);
        router.input_jitter = checked_jitter(build.options.number("input_jitter", 0));
        router.seed = build.seed;
        router.penalties = build.penalties_or(BalanceLoss::none);
        return router;
    }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, jittered(tape, input, input_jitter, seed), input.segments);
        const auto p = softmax(tape, z);
        const DrawKey key = DrawKey::of(tape, seed, input.module);
        const SparsemixerOptions now{options.jitter, options.sample && key.by_step,
                                     options.heun && key.by_step};
        const auto slots = sparsemixer(tape, z, input.segments, k, now, key);
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, slots.choice, input.segments, experts());
        routing.weight = keep_true(tape, slots.weight, routing.expert);
        add_penalties(tape, routing, z, p, slots.choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, slots.choice, p.value(), input.segments);
        return routing;
    }
};

}  // namespace moegrad
