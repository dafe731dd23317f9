#pragma once
// ExpertChoiceRouter: the experts choose their tokens (Zhou et al. 2022, arXiv 2202.09368).
//     p = softmax(z)                               over the experts, per token
//     expert e takes the C tokens of largest p_e,  C = ceil(n capacity / E) of the n valid tokens of the group
//     w_e = p_e for the experts that took the token: 0 to E of them, not renormalised
// No auxiliary loss is needed: every expert has the same load by construction. Ties go to the lower token.
//
// Not causal: whether an expert takes a token depends on the tokens after it, so what a text scores and what would be
// generated differ. Evaluation runs the same rule; with eval = top_k every token gets its own best experts there, as many as
// router.top_k, with w_e = p_e too: causal, but not what was trained.
// group = batch is the paper's; with group = sequence no text depends on another one.
// Left out: the paper's bound on experts per token, and Mesh's softmax over tokens.

#include <moegrad/ops/expert_choice.hpp>
#include <moegrad/ops/top_p.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/router_build.hpp>

namespace moegrad {

template <class Real>
struct ExpertChoiceRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::k, GateRouter<Real>::experts;
    static constexpr WeightSum sum = WeightSum::at_most_one;
    static std::string instead_of_top_k(const RouterOptions& options) {
        return options.either("eval", "same", "top_k") ? "set capacity in router.options" : "";
    }
    double capacity = 2;  // experts per token on average
    ChoiceGroup group = ChoiceGroup::batch;
    bool eval_top_k = false;
    PenaltySettings penalties{};

    /// router.options: capacity, group = batch or sequence, eval = same or top_k.
    static ExpertChoiceRouter make(RouterBuild<Real> build) {
        ExpertChoiceRouter router;
        router.gate = std::move(build.gate);
        router.capacity = build.options.number("capacity", std::min(2.0, static_cast<double>(build.experts)));
        const bool batch = build.options.either("group", "batch", "sequence");
        router.group = batch ? ChoiceGroup::batch : ChoiceGroup::segment;
        router.eval_top_k = !build.options.either("eval", "same", "top_k");
        router.k = build.top_k;
        router.penalties = build.penalties_or(BalanceLoss::none);
        router.check();
        return router;
    }

    Index slots() const { return experts(); }
    RouterScope scope() const {
        return group == ChoiceGroup::batch ? RouterScope::batch : RouterScope::sequence;
    }
    std::string caution() const {
        return std::string(
                   "expert_choice is not causal: which experts a token gets depends on later tokens") +
               (eval_top_k ? "" : ", in evaluation too");
    }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);
        const auto p = softmax(tape, z);
        const auto choice =
            eval_top_k && !tape.training()
                ? top_p(tape, p.value(), {.p = 0, .keep = k, .crossing = false})  // the k best, in E slots
                : expert_choice(tape, p.value(), input.segments, capacity / static_cast<double>(experts()),
                                group);
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, input.segments, experts());
        routing.weight = take(tape, p, routing.expert);
        add_penalties(tape, routing, z, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }

    /// Throws when there is no such capacity; called by whoever builds the router.
    void check() const {
        if (capacity > 0 && capacity <= static_cast<double>(experts())) return;
        throw Error{ErrorCode::config, "router.options: capacity",
                    format("experts per token, above 0 and up to {}", experts()), format("{}", capacity)};
    }
};

}  // namespace moegrad
