#pragma once
// DynMoleRouter: few experts where the router is sure, all where it is not (DynMoLE). The equations are those of the
// authors' implementation; what the paper prints was not available.
//     p = softmax(W_r x),   h = H_q(p) / H_max, the Tsallis entropy of ops/tsallis_entropy.hpp (q 1.1, eps 1e-5)
//     h > threshold (0.9):  all E experts
//     else                  the sorted places with inclusive sum <= p (0.75), and the first `keep` (2) always: the expert
//                           that crosses p is dropped unless it is among those
//     w_e = p_e, not renormalised: a sure token's weights sum to less than 1
// Three switches for the other reading in the wild: normalize=false (h = H_q, whose maximum is not 1), crossing=true,
// renormalize=true. The rule is the same at inference. An untrained router is near uniform: every token then costs E
// experts. threshold at or above the maximum: the top-p part alone. Ties: lowest index.
// Penalties: "balance" E sum_e F_e P_e with the soft load F_e = mean of w_e (raw), which has a gradient (1e-3), and "entropy",
// h per token (1e-2). Theirs pools all layers and counts padding in the entropy; ours acts per layer, on valid tokens. Any
// router.aux replaces the soft balance, unless soft_balance=true.

#include <moegrad/ops/broadcast_slots.hpp>
#include <moegrad/ops/scatter.hpp>
#include <moegrad/ops/soft_balance_loss.hpp>
#include <moegrad/routing/top_p_router.hpp>

namespace moegrad {

template <class Real>
struct DynMoleRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::experts;
    static std::string instead_of_top_k(const RouterOptions&) {
        return "set p, keep or at_most in router.options";
    }
    TopPOptions prefix{.p = 0.75, .keep = 2, .crossing = false};
    TsallisOptions uncertainty{};
    double threshold = 0.9;
    bool renormalize = false;
    bool soft_balance = true;
    PenaltySettings penalties{};

    /// router.options: those of top_p_options, threshold, q, eps, normalize, renormalize, soft_balance.
    static DynMoleRouter make(RouterBuild<Real> build) {
        const RouterOptions& options = build.options;
        DynMoleRouter router;
        router.prefix = top_p_options(options, router.prefix);
        router.uncertainty = {.q = options.number("q", 1.1),
                              .eps = options.number("eps", 1e-5),
                              .normalize = options.flag("normalize", true)};
        router.threshold = options.number("threshold", 0.9);
        router.renormalize = options.flag("renormalize", false);
        router.soft_balance = options.flag("soft_balance", build.penalties.balance == BalanceLoss::by_method);
        router.penalties = build.penalties_or(BalanceLoss::none);
        if (router.soft_balance) router.penalties.balance = BalanceLoss::none;
        router.gate = std::move(build.gate);
        return router;
    }

    Index slots() const { return experts(); }
    std::vector<PenaltyCoefficient> coefficients() const { return {{"balance", 1e-3}, {"entropy", 1e-2}}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const Segments& segments = input.segments;
        const auto z = gate.logits(tape, input.x, segments);
        const auto p = softmax(tape, z);
        const auto h = tsallis_entropy(tape, p, segments.valid, uncertainty);
        const auto sure = top_p(tape, p.value(), prefix);
        const auto choice = broadcast_slots(tape, sure, h.value(), threshold, experts());
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, segments, experts());
        const auto kept = take(tape, p, routing.expert);
        routing.weight = renormalize ? chosen_softmax(tape, z, choice, routing.expert) : kept;
        if (soft_balance) add_soft_balance(tape, routing, p, kept, segments);
        add_penalties(tape, routing, z, p, choice, segments, experts(), penalties);
        routing.penalties.push_back({"entropy", h, PenaltyUnit::token});
        routing.traces.push_back({"uncertainty", h.value()});
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), segments);
        return routing;
    }

private:
    void add_soft_balance(Tape& tape, Routing<Real>& routing, const Var<Real>& p, const Var<Real>& kept,
                          const Segments& segments) const {
        const auto load = scatter(tape, kept, routing.expert, experts());
        const PenaltyUnit unit =
            penalties.scope == BalanceOptions::Scope::sequence ? PenaltyUnit::sequence : PenaltyUnit::batch;
        routing.penalties.push_back(
            {"balance", soft_balance_loss(tape, p, load, segments, penalties.scope), unit});
    }
};

}  // namespace moegrad
