#pragma once
// NoisyTopKRouter: noisy top-k gating (Shazeer et al. 2017, arXiv 1701.06538).
//     z = W_g x,   s = softplus(W_n x) + 1e-2,   h = z + s N(0, 1) in training, h = z else
//     S = top-K of h,   w = softmax of h over S                             (K = 1: 1, the gate learns by penalties)
//     importance_e = sum_t w_{t,e}                    penalty "importance" = CV^2(importance)
//     load_e = sum_t Phi((z - thr) / s),  thr the K-th largest h without e   penalty "load" = CV^2(load)
// W_n starts at zero, and so does W_g where the gate is new; a checkpoint's gate stays. Coefficients of both penalties: 0.01,
// the usual code's (the paper is quoted with 0.1). Their scope is that of router.aux_scope, the paper's is micro.
// With K = E every load is T and its penalty 0. Outside training, and in a penalty there, the noise is 0.

#include <moegrad/ops/add.hpp>
#include <moegrad/ops/cv2.hpp>
#include <moegrad/ops/multiply.hpp>
#include <moegrad/ops/noise.hpp>
#include <moegrad/ops/noisy_gate.hpp>
#include <moegrad/ops/scatter.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct NoisyTopKRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::k, GateRouter<Real>::experts;
    static constexpr WeightSum sum = WeightSum::one;
    Gate<Real> noise_gate;  // W_n [E, D]
    std::uint64_t seed = 0;
    PenaltySettings penalties{};

    /// router.options: none.
    static NoisyTopKRouter make(RouterBuild<Real> build) {
        NoisyTopKRouter router;
        router.k = build.top_k;
        router.seed = build.seed;
        router.penalties = build.penalties_or(BalanceLoss::none);
        router.noise_gate = Gate<Real>(build.zeros("noise.weight", {build.experts, build.features}));
        if (build.gate.weight->name().starts_with(build.path + ".")) {
            for (Real& value : build.gate.weight->value().values()) value = Real(0);
        }
        router.gate = std::move(build.gate);
        return router;
    }

    std::vector<Parameter<Real>*> parameters() {
        auto all = gate.parameters();
        all.push_back(noise_gate.weight.get());
        return all;
    }
    std::vector<PenaltyCoefficient> coefficients() const { return {{"importance", 0.01}, {"load", 0.01}}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);
        const auto s = noise_deviation(tape, noise_gate.logits(tape, input.x, input.segments));
        const auto h = noisy(tape, z, s, input);
        const auto order = top_k(tape, h.value(), std::min(k + 1, experts()));
        const auto choice = order.columns(0, k);
        const auto p = softmax(tape, h);
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, input.segments, experts());
        routing.weight = chosen_softmax(tape, h, choice, routing.expert);
        const auto load = noisy_load(tape, z, s, h, order, k);
        const auto gates = scatter(tape, routing.weight, routing.expert, experts());
        add_cv2(tape, routing, "importance", gates, input.segments);
        add_cv2(tape, routing, "load", load, input.segments);
        add_penalties(tape, routing, h, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }

private:
    Var<Real> noisy(Tape& tape, const Var<Real>& z, const Var<Real>& s, const RouteInput<Real>& input) const {
        const DrawKey key = DrawKey::of(tape, seed, input.module);
        if (!key.by_step) return z;
        const Var<Real> n(noise<Real>(tape, input.segments, experts(), NoiseRange::normal(), key));
        return add(tape, z, multiply(tape, n, s));
    }

    void add_cv2(Tape& tape, Routing<Real>& routing, const char* name, const Var<Real>& v,
                 const Segments& segments) const {
        const bool sequence = penalties.scope == BalanceOptions::Scope::sequence;
        routing.penalties.push_back({name, cv2(tape, v, segments, penalties.scope),
                                     sequence ? PenaltyUnit::sequence : PenaltyUnit::batch});
    }
};

}  // namespace moegrad
