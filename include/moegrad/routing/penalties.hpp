#pragma once
// The penalties a router may add to its Routing, each under the name its coefficient has in the configuration.
//
//   balance  Switch-style load balance, C sum_c f_c P_c, per layer. Definitions (methods differ, so the config names one):
//              switch      f over slots / (tokens K), sums to 1   balanced value 1   Switch, Megatron, torchtitan
//              adamoe_eq3  f over slots / tokens, sums to K       balanced value K   AdaMoE Eq. 3 (HF's per-layer form)
//              adamoe_eq6  the same, nulls share their mean f     balanced value K   AdaMoE Eq. 6
//            Scope: sequence (default; any split into micro-batches gives the same bits) or micro (as the papers).
//   z        logsumexp(z_t)^2 per token                            ST-MoE router z-loss

#include <string>

#include <moegrad/ops/balance_loss.hpp>
#include <moegrad/ops/z_loss.hpp>
#include <moegrad/routing/router.hpp>

namespace moegrad {

/// by_method: what the method does unless told otherwise; resolved before a router is built.
enum class BalanceLoss { by_method, none, switch_share, adamoe_eq3, adamoe_eq6 };

inline BalanceLoss balance_loss_named(const std::string& name) {
    if (name == "none") return BalanceLoss::none;
    if (name == "switch") return BalanceLoss::switch_share;
    if (name == "adamoe_eq3") return BalanceLoss::adamoe_eq3;
    if (name == "adamoe_eq6") return BalanceLoss::adamoe_eq6;
    throw Error{ErrorCode::config, "router.balance", "none, switch, adamoe_eq3 or adamoe_eq6", name};
}

struct PenaltySettings {
    BalanceLoss balance = BalanceLoss::none;
    BalanceOptions::Scope scope = BalanceOptions::Scope::sequence;
    bool z = false;
};

/// Adds what `settings` ask for. logits, p [T, C] over all columns; choice [T, K] columns of p.
template <class Real>
void add_penalties(Tape& tape, Routing<Real>& routing, const Var<Real>& logits, const Var<Real>& p,
                   const Tensor<std::int32_t>& choice, const Segments& segments, Index true_experts,
                   const PenaltySettings& settings) {
    if (settings.balance != BalanceLoss::none && settings.balance != BalanceLoss::by_method) {
        BalanceOptions options;
        options.scope = settings.scope;
        options.true_experts = true_experts;
        if (settings.balance == BalanceLoss::switch_share) options.counts = BalanceOptions::Counts::share;
        if (settings.balance == BalanceLoss::adamoe_eq6) options.nulls = BalanceOptions::Nulls::averaged;
        const PenaltyUnit unit =
            settings.scope == BalanceOptions::Scope::sequence ? PenaltyUnit::sequence : PenaltyUnit::batch;
        routing.penalties.push_back({"balance", balance_loss(tape, p, choice, segments, options), unit});
    }
    if (settings.z)
        routing.penalties.push_back({"z", z_loss(tape, logits, segments.valid), PenaltyUnit::token});
}

}  // namespace moegrad
