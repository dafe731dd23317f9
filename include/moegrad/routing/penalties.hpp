#pragma once
// The penalties a router may add to its Routing, each under the name its coefficient has in the configuration.
//
//   balance  Load balance, by definition (methods differ, so the configuration names one; C columns, K slots). Those that
//            read C sum_c f_c P_c, f from counts without a gradient, P the mean probability:
//              switch       f over slots / (tokens K), sums to 1       uniform router 1   Switch, Megatron, torchtitan
//              seq          switch per sequence, whatever the scope    1                  DeepSeek-V3, Megatron seq_aux_loss
//              adamoe_eq3   f over slots / tokens, sums to K           K                  AdaMoE Eq. 3 (HF's per-layer form)
//              adamoe_eq6   the same, nulls share their mean f         K                  AdaMoE Eq. 6
//              adamoe_exp1  f over slots / (tokens K), nulls averaged  1                  AdaMoE's first experiment: all routers
//                           of a layer pooled
//              hf_concat    f over slots / tokens, all routers pooled  K                  transformers (Mixtral and others)
//              hf_v5_double_softmax   hf_concat of softmax(p)          K                  transformers 5 before 5.15, for parity
//            and one that does not:
//              cv2          squared coefficient of variation of sum_t p[t,c]   0          Shazeer et al. 2017, importance
//            Scope: sequence (default; any split into micro-batches gives the same bits) or micro (as the papers). Pooled
//            ones look at the micro-batch; nn/balance_pool.hpp makes them after the last layer.
//   z        logsumexp(z_t)^2 per token                            ST-MoE router z-loss

#include <string>

#include <moegrad/core/nearest.hpp>
#include <moegrad/ops/cv2.hpp>
#include <moegrad/ops/softmax.hpp>
#include <moegrad/ops/z_loss.hpp>
#include <moegrad/routing/router.hpp>

namespace moegrad {

/// by_method: what the method does unless told otherwise; resolved before a router is built.
enum class BalanceLoss {
    by_method,
    none,
    switch_share,
    adamoe_eq3,
    adamoe_eq6,
    seq,
    adamoe_exp1,
    hf_concat,
    hf_v5_double_softmax,
    cv2
};

/// As configurations and adapter files spell them, in the order of BalanceLoss.
inline constexpr const char* kBalanceLossNames[] = {
    "by_method", "none",        "switch",    "adamoe_eq3",           "adamoe_eq6",
    "seq",       "adamoe_exp1", "hf_concat", "hf_v5_double_softmax", "cv2"};

inline BalanceLoss balance_loss_named(const std::string& name) {
    std::vector<std::string> names;
    std::string all;
    for (const char* one : kBalanceLossNames) {
        if (name == one) return static_cast<BalanceLoss>(names.size());
        names.emplace_back(one);
        all += (all.empty() ? "" : ", ") + names.back();
    }
    if (name == "global_batch") {
        throw Error{
            ErrorCode::unsupported, "router.aux", "one of " + all, "\"" + name + "\"",
            "it needs the counts of a whole step before its first backward; a step of one micro-batch has "
            "them: aux = \"switch\", aux_scope = \"micro\", train.micro_batch = 0"};
    }
    throw Error{ErrorCode::config, "router.aux", "one of " + all, "\"" + name + "\"",
                did_you_mean(nearest(name, names))};
}

/// Whether it looks at several routers at once.
inline bool is_pooled(BalanceLoss balance) {
    return balance == BalanceLoss::adamoe_exp1 || balance == BalanceLoss::hf_concat ||
           balance == BalanceLoss::hf_v5_double_softmax;
}

struct PenaltySettings {
    BalanceLoss balance = BalanceLoss::none;
    BalanceOptions::Scope scope = BalanceOptions::Scope::sequence;
    bool z = false;

    bool balances() const { return balance != BalanceLoss::none && balance != BalanceLoss::by_method; }
    /// Whether the value depends on how a step is cut into micro-batches.
    bool per_micro_batch() const {
        const bool micro = scope == BalanceOptions::Scope::micro && balance != BalanceLoss::seq;
        return is_pooled(balance) || (balance != BalanceLoss::none && micro);
    }
};

/// What the ops take for it. true_experts: columns from there on are nulls.
inline BalanceOptions balance_options(const PenaltySettings& settings, Index true_experts) {
    const BalanceLoss balance = settings.balance;
    BalanceOptions options;
    options.scope = balance == BalanceLoss::seq ? BalanceOptions::Scope::sequence : settings.scope;
    options.true_experts = true_experts;
    if (balance == BalanceLoss::switch_share || balance == BalanceLoss::seq ||
        balance == BalanceLoss::adamoe_exp1)
        options.counts = BalanceOptions::Counts::share;
    if (balance == BalanceLoss::adamoe_eq6 || balance == BalanceLoss::adamoe_exp1)
        options.nulls = BalanceOptions::Nulls::averaged;
    return options;
}

/// Adds what `settings` ask for. logits, p [T, C] over all columns; choice [T, K] columns of p.
template <class Real>
void add_penalties(Tape& tape, Routing<Real>& routing, const Var<Real>& logits, const Var<Real>& p,
                   const Tensor<std::int32_t>& choice, const Segments& segments, Index true_experts,
                   const PenaltySettings& settings) {
    const BalanceOptions options = balance_options(settings, true_experts);
    if (is_pooled(settings.balance)) {
        const bool twice = settings.balance == BalanceLoss::hf_v5_double_softmax;
        const bool layer = settings.balance == BalanceLoss::adamoe_exp1;
        routing.pool = {{twice ? softmax(tape, p) : p, choice}, options, layer};
    } else if (settings.balances()) {
        const bool sequence = options.scope == BalanceOptions::Scope::sequence;
        const auto value = settings.balance == BalanceLoss::cv2
                               ? cv2(tape, p, segments, options.scope)
                               : balance_loss(tape, p, choice, segments, options);
        routing.penalties.push_back(
            {"balance", value, sequence ? PenaltyUnit::sequence : PenaltyUnit::batch});
    }
    if (settings.z)
        routing.penalties.push_back({"z", z_loss(tape, logits, segments.valid), PenaltyUnit::token});
}

}  // namespace moegrad
