#pragma once
// NullExpertRouter: top-K over E true and M null experts (AdaMoE, Zeng et al. 2024, arXiv 2406.13233).
// A null expert is the zero map: a slot on it costs no row and no FLOP, so tokens use 0..K true experts.
//     p = softmax([W_g x ; W_g2 x]) over E + M,   S = top-K of the logits (ties: lowest index, true before null)
//     weights over true (option 2, the method):   w_e = p_e / sum_{j in S, j < E} p_j      all-null token: no weight
//     weights over all  (option 1):               w_e = p_e / sum_{j in S} p_j
// With NullMap::identity a null slot passes the token itself through with its weight; the paper names this and does
// not explore it. Under option 2 nulls carry no weight, so identity nulls need weights over all.
//
// W_g2 starts as M / E copies of W_g (`copy_gate`): every true logit is then tied with its copies, and with ties broken
// by index the first step has ceil(K / (1 + M/E)) true experts - plain top-2 for (8, 3) on 8 experts. The ties break at
// the first update.  Under option 2 the task loss sends W_g2 no gradient: only the balance loss trains it.

#include <moegrad/ops/top_k.hpp>
#include <moegrad/routing/null_gate.hpp>
#include <moegrad/routing/penalties.hpp>
#include <moegrad/routing/slot_weights.hpp>

namespace moegrad {

enum class NullWeights { over_true, over_all };

template <class Real>
struct NullExpertRouter {
    Gate<Real> gate;   // [E, D]
    Gate<Real> gate2;  // [M, D]; undefined when M = 0
    Index k = 3;
    NullWeights weights = NullWeights::over_true;
    NullMap null_map = NullMap::zero;
    PenaltySettings penalties{.balance = BalanceLoss::adamoe_eq6};

    Index slots() const { return k; }
    Index experts() const { return gate.columns(); }
    Index nulls() const { return gate2.columns(); }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() { return parameters_with_nulls(gate, gate2); }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = logits_with_nulls(tape, gate, gate2, input.x, input.segments);
        const auto p = softmax(tape, z);
        const auto choice = top_k(tape, z.value(), k);
        Routing<Real> routing;
        weigh_slots(tape, routing, z, p, choice, input.segments, experts(), slot_weights(), null_map);
        add_penalties(tape, routing, z, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }

    /// Throws when the settings contradict each other; called by whoever builds the router.
    void check() const {
        if (k < 1 || k > experts() + nulls()) {
            throw Error{
                ErrorCode::config, "null-expert router", format("top_k in [1, {}]", experts() + nulls()),
                format("{}", k),
                format("{} experts and {} null experts are the slots to choose from", experts(), nulls())};
        }
        check_null_map(slot_weights(), null_map);
    }

private:
    SlotWeights slot_weights() const {
        return weights == NullWeights::over_true ? SlotWeights::over_true : SlotWeights::over_all;
    }
};

}  // namespace moegrad
