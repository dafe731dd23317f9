#pragma once
// AdapterSpec: what a fine-tuning run adds to a base model, in the words of the configuration ([adapter], [router]).
//
//   method   on Mixtral                                        on Llama, Mistral
//   lora     LoRA; the checkpoint's own top-k routing          LoRA
//   adamoe   + null experts, gate2 copied from the gate        Mo-LoRA: E LoRA experts and M nulls per Linear
//   mor      + J sub-routers (gate + LoRA each) and a main one Mo-LoRA with a mixture of routers per Linear
//   molora   -                                                 Mo-LoRA with a plain top-k router per Linear
//
// targets: q_proj k_proj v_proj o_proj, gate_proj up_proj down_proj (dense); of every expert either the fused form,
// experts.gate_up (one A for w1 and w3) and experts.down, or single modules, w1 w2 w3 (an A each; w1 and w3 together);
// or the groups attention, mlp, experts (fused), all.

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/autograd/lora_parameters.hpp>
#include <moegrad/routing/mixture_router.hpp>
#include <moegrad/routing/null_expert_router.hpp>

namespace moegrad {

enum class Method { lora, molora, adamoe, mor };

inline const char* name(Method method) {
    switch (method) {
        case Method::lora: return "lora";
        case Method::molora: return "molora";
        case Method::adamoe: return "adamoe";
        case Method::mor: return "mor";
    }
    return "unknown";
}

inline Method method_named(const std::string& text) {
    for (Method method : {Method::lora, Method::molora, Method::adamoe, Method::mor}) {
        if (text == name(method)) return method;
    }
    throw Error{ErrorCode::config, "adapter.method", "lora, molora, adamoe or mor", text};
}

/// What trains of a checkpoint's gate. The default of a method: frozen for lora and mor, LoRA for adamoe.
enum class GateMode { by_method, frozen, lora, full };

struct AdapterSpec {
    Method method = Method::lora;
    LoraOptions lora{};
    std::vector<std::string> targets{"attention", "experts"};
    std::uint64_t seed = 0;  // of the random start

    GateMode gate = GateMode::by_method;
    Index top_k = 0;         // 0: the checkpoint's (Mixtral), 3 for adamoe, 2 otherwise
    Index experts = 4;       // E of Mo-LoRA; a Mixtral has its own
    Index null_experts = 0;  // M; 0 with adamoe: as many as there are experts
    NullWeights null_weights = NullWeights::over_true;
    NullMap null_map = NullMap::zero;
    MixtureKind mixture = MixtureKind::probabilities;
    Index routers = 2;                             // J
    BalanceLoss balance = BalanceLoss::by_method;  // adamoe: adamoe_eq6; the others: none
    BalanceOptions::Scope balance_scope = BalanceOptions::Scope::sequence;
    bool z_loss = false;

    GateMode gate_mode() const {
        if (gate != GateMode::by_method) return gate;
        return method == Method::adamoe ? GateMode::lora : GateMode::frozen;
    }
    BalanceLoss balance_loss() const {
        if (balance != BalanceLoss::by_method) return balance;
        return method == Method::adamoe ? BalanceLoss::adamoe_eq6 : BalanceLoss::none;
    }
    PenaltySettings penalties() const {
        return {.balance = balance_loss(), .scope = balance_scope, .z = z_loss};
    }

    /// Whether this very name is a target.
    bool names(const std::string& name) const {
        return std::find(targets.begin(), targets.end(), name) != targets.end();
    }
    /// Whether a Linear or expert stack of this name is meant. `group`: attention, mlp or experts.
    bool wants(const std::string& name, const std::string& group) const {
        for (const std::string& target : targets) {
            if (target == name || target == group || target == "all") return true;
        }
        return false;
    }
};

}  // namespace moegrad
