#pragma once
// AdapterSpec: what a fine-tuning run adds to a base model, in the words of the configuration ([adapter], [router]).
//
//   method   on Mixtral                                        on Llama, Mistral
//   lora     LoRA; the checkpoint's own top-k routing          LoRA
//   adamoe   + null experts, gate2 copied from the gate        Mo-LoRA: E LoRA experts and M nulls per Linear
//   mor      + J sub-routers (gate + LoRA each) and a main one Mo-LoRA with a mixture of routers per Linear
//   molora   -                                                 Mo-LoRA with a plain top-k router per Linear
//   any name of the registry (router_registry.hpp): that router in the place of the checkpoint's, or per Linear
//   any name of a model method (model_method.hpp): what that method does; the checkpoint's own routing stays
//
// targets: q_proj k_proj v_proj o_proj, gate_proj up_proj down_proj (dense); of every expert either the fused form,
// experts.gate_up (one A for w1 and w3) and experts.down, or single modules, w1 w2 w3 (an A each; w1 and w3 together);
// or the groups attention, mlp, experts (fused), all. Places, where there are some, take over from the targets: an
// adapter that reaches some layers only, or with ranks that differ, has one entry for every Linear and expert stack.

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/autograd/lora_parameters.hpp>
#include <moegrad/methods/method_names.hpp>
#include <moegrad/methods/router_registry.hpp>
#include <moegrad/routing/mixture_router.hpp>
#include <moegrad/routing/null_expert_router.hpp>

namespace moegrad {

/// registered: a router by its name, model: a model method by its name; AdapterSpec::router has it.
enum class Method { lora, molora, adamoe, mor, registered, model };

inline const char* name(Method method) {
    switch (method) {
        case Method::lora: return "lora";
        case Method::molora: return "molora";
        case Method::adamoe: return "adamoe";
        case Method::mor: return "mor";
        case Method::registered: return "registered";
        case Method::model: return "model";
    }
    return "unknown";
}

/// Every name that adapter.method takes in this program.
inline std::vector<std::string> method_names() {
    std::vector<std::string> names;
    for (Method method : {Method::lora, Method::molora, Method::adamoe, Method::mor}) {
        names.emplace_back(name(method));
    }
    for (const auto& router : registered_router_names()) names.push_back(router);
    for (const auto& method : model_methods()) names.push_back(method.name);
    return names;
}

/// The same in a line: "lora, molora, ...".
inline std::string method_list() {
    std::string all;
    for (const auto& one : method_names()) all += (all.empty() ? "" : ", ") + one;
    return all;
}

inline Method method_named(const std::string& text) {
    const bool outside = find_router(text) != nullptr, whole = find_model_method(text) != nullptr;
    for (Method method : {Method::lora, Method::molora, Method::adamoe, Method::mor}) {
        if (text != name(method)) continue;
        if (!outside && !whole) return method;
        throw Error{ErrorCode::config, "registered routers", "a name that is free", "\"" + text + "\""};
    }
    if (outside && whole) {
        throw Error{ErrorCode::config, "registered routers", "a name that is free", "\"" + text + "\""};
    }
    if (outside) return Method::registered;
    if (whole) return Method::model;
    throw Error{ErrorCode::config, "adapter.method", "one of " + method_list(), "\"" + text + "\"",
                did_you_mean(nearest(text, method_names()),
                             "a router of your own must be in this program: `moegrad new router`")};
}

/// What trains of a checkpoint's gate. The default of a method: frozen for lora and mor, LoRA for adamoe and registered.
enum class GateMode { by_method, frozen, lora, full };

/// A Linear ("model.layers.0.self_attn.q_proj"), or the experts of a layer: "model.layers.0.mlp.experts" and
/// .gate_up_proj, .down_proj (fused), .w1 (which stands for w3 too) or .w2 (single modules).
struct AdapterPlace {
    std::string path;
    Index rank = 0;
    double alpha = 0;

    bool operator==(const AdapterPlace&) const = default;
};

struct AdapterSpec {
    Method method = Method::lora;
    std::string router{};   // registered, model: its name,
    std::string options{};  // and router.options
    LoraOptions lora{};
    Index gate_up_rank = 0;    // of experts.gate_up where it has one of its own (PEFT's rank_pattern),
    double gate_up_alpha = 0;  // and its alpha
    std::vector<std::string> targets{"attention", "experts"};
    std::vector<AdapterPlace> places{};  // not empty: these and no others
    std::uint64_t seed = 0;              // of the random start

    GateMode gate = GateMode::by_method;
    Index top_k = 0;    // 0: the checkpoint's (Mixtral), 3 for adamoe, 2 otherwise
    Index experts = 4;  // E of Mo-LoRA; a Mixtral has its own
    std::vector<Index>
        experts_per_layer{};  // of equal groups of layers, first to last; empty: experts everywhere
    Index null_experts = 0;   // M; 0 with adamoe: as many as there are experts; with mor: none
    NullWeights null_weights = NullWeights::over_true;
    NullMap null_map = NullMap::zero;
    MixtureKind mixture = MixtureKind::probabilities;
    Index routers = 2;                             // J
    BalanceLoss balance = BalanceLoss::by_method;  // adamoe: adamoe_eq6; the others: none
    BalanceOptions::Scope balance_scope = BalanceOptions::Scope::sequence;
    bool z_loss = false;

    /// E of Mo-LoRA in one of `layers` layers.
    Index experts_at(int layer, Index layers) const {
        const auto groups = static_cast<Index>(experts_per_layer.size());
        if (groups == 0) return experts;
        if (layers % groups != 0) {
            throw Error{ErrorCode::config, "router.experts_per_layer",
                        format("as many numbers as divide the {} layers", layers), format("{}", groups)};
        }
        return experts_per_layer[static_cast<std::size_t>(layer / (layers / groups))];
    }
    /// The largest of them.
    Index most_experts() const {
        return experts_per_layer.empty()
                   ? experts
                   : *std::max_element(experts_per_layer.begin(), experts_per_layer.end());
    }

    GateMode gate_mode() const {
        if (gate != GateMode::by_method) return gate;
        return method == Method::adamoe || method == Method::registered ? GateMode::lora : GateMode::frozen;
    }
    BalanceLoss balance_loss() const {
        if (balance != BalanceLoss::by_method) return balance;
        if (by_name()) return BalanceLoss::by_method;  // the router knows
        return method == Method::adamoe ? BalanceLoss::adamoe_eq6 : BalanceLoss::none;
    }
    PenaltySettings penalties() const {
        return {.balance = balance_loss(), .scope = balance_scope, .z = z_loss};
    }

    LoraOptions gate_up_lora() const {
        LoraOptions own = lora;
        if (gate_up_rank > 0) {
            own.rank = gate_up_rank;
            own.alpha = gate_up_alpha;
        }
        return own;
    }

    /// Null when the adapter has no such place, or is the same in every layer.
    const AdapterPlace* place(const std::string& path) const {
        const auto found = std::find_if(places.begin(), places.end(),
                                        [&](const AdapterPlace& one) { return one.path == path; });
        return found == places.end() ? nullptr : &*found;
    }
    LoraOptions lora_at(const AdapterPlace& place) const {
        LoraOptions own = lora;
        own.rank = place.rank;
        own.alpha = place.alpha;
        return own;
    }

    /// The method as the configuration names it.
    std::string method_name() const { return by_name() ? router : name(method); }
    /// Whether a name says what the method is, and router.options how.
    bool by_name() const { return method == Method::registered || method == Method::model; }
    void set_method(const std::string& text) {
        method = method_named(text);
        router = by_name() ? text : "";
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
