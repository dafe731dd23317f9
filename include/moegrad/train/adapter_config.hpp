#pragma once
// adapter_config.json <-> AdapterSpec. PEFT's own keys verbatim; what we lack is refused (adapter_refusals.hpp).

#include <optional>
#include <set>
#include <string>
#include <vector>

#include <moegrad/core/model_config.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/methods/adapter_spec.hpp>
#include <moegrad/train/adapter_refusals.hpp>
#include <moegrad/train/adapter_targets.hpp>

namespace moegrad {

namespace detail {

inline constexpr const char* kDoraName = "dora";  // of methods/dora.hpp

inline constexpr const char* kMixtureNames[] = {"A", "B", "C", "D"};
inline constexpr const char* kNullWeightNames[] = {"true", "all"};
inline constexpr const char* kNullMapNames[] = {"zero", "identity"};
inline constexpr const char* kScopeNames[] = {"sequence", "micro"};
inline constexpr const char* kGateNames[] = {"by_method", "frozen", "lora", "full"};

/// The index of `text` among `names`.
template <std::size_t N>
std::size_t index_of(const char* const (&names)[N], const JsonRef& value) {
    for (std::size_t i = 0; i < N; ++i) {
        if (value.string() == names[i]) return i;
    }
    std::string all;
    for (const char* one : names) all += (all.empty() ? "" : ", ") + std::string(one);
    value.fail("one of " + all);
}

inline Json string_list(const std::vector<std::string>& items) {
    Json::Array all;
    for (const auto& item : items) all.emplace_back(item);
    return Json(std::move(all));
}

inline Json router_block(const AdapterSpec& spec) {
    Json block = Json::object();
    block.add("method", spec.method_name());
    if (spec.by_name()) block.add("options", spec.options);
    block.add("top_k", spec.top_k);
    block.add("experts", spec.experts);
    if (!spec.experts_per_layer.empty()) {
        Json::Array all;
        for (const Index experts : spec.experts_per_layer) all.emplace_back(experts);
        block.add("experts_per_layer", Json(std::move(all)));
    }
    block.add("null_experts", spec.null_experts);
    block.add("null_weights", kNullWeightNames[static_cast<int>(spec.null_weights)]);
    block.add("null_map", kNullMapNames[static_cast<int>(spec.null_map)]);
    block.add("mixture", kMixtureNames[static_cast<int>(spec.mixture)]);
    block.add("routers", spec.routers);
    block.add("gate", kGateNames[static_cast<int>(spec.gate)]);
    block.add("balance", kBalanceLossNames[static_cast<int>(spec.balance_loss())]);
    block.add("balance_scope", kScopeNames[static_cast<int>(spec.balance_scope)]);
    block.add("z_loss", spec.z_loss);
    block.add("targets", string_list(spec.targets));
    block.add("seed", static_cast<std::int64_t>(spec.seed));
    return block;
}

inline void read_router_block(const JsonRef& block, AdapterSpec& spec) {
    spec.set_method(block.at("method").string());
    if (spec.by_name()) spec.options = block.at("options").string();
    spec.top_k = block.at("top_k").integer(0, 1 << 16);
    spec.experts = block.at("experts").integer(1, 1 << 16);
    if (const auto layers = block.find("experts_per_layer")) {
        for (std::size_t i = 0; i < layers->array().size(); ++i) {
            spec.experts_per_layer.push_back(layers->item(i).integer(1, 1 << 16));
        }
    }
    spec.null_experts = block.at("null_experts").integer(0, 1 << 16);
    spec.null_weights = static_cast<NullWeights>(index_of(kNullWeightNames, block.at("null_weights")));
    spec.null_map = static_cast<NullMap>(index_of(kNullMapNames, block.at("null_map")));
    spec.mixture = static_cast<MixtureKind>(index_of(kMixtureNames, block.at("mixture")));
    spec.routers = block.at("routers").integer(1, 1 << 16);
    spec.gate = static_cast<GateMode>(index_of(kGateNames, block.at("gate")));
    spec.balance = static_cast<BalanceLoss>(index_of(kBalanceLossNames, block.at("balance")));
    spec.balance_scope = static_cast<BalanceOptions::Scope>(index_of(kScopeNames, block.at("balance_scope")));
    spec.z_loss = block.at("z_loss").boolean();
    spec.seed = static_cast<std::uint64_t>(block.at("seed").integer(0, INT64_MAX));
    spec.targets.clear();
    const JsonRef targets = block.at("targets");
    for (std::size_t i = 0; i < targets.array().size(); ++i) spec.targets.push_back(targets.item(i).string());
}

/// The patterns that a router's adapter has: those of experts.gate_up.
inline void read_gate_up_rank(const JsonRef& root, AdapterSpec& spec) {
    const std::string name = "model.layers.0.mlp.experts.gate_up_proj";
    NumberPatterns ranks(root, "rank_pattern"), alphas(root, "alpha_pattern");
    const auto rank = ranks.find(name), alpha = alphas.find(name);
    ranks.require_all_used();
    alphas.require_all_used();
    if (!rank && !alpha) return;
    spec.gate_up_rank = rank ? rank->integer(1, 1 << 16) : spec.lora.rank;
    spec.gate_up_alpha = alpha ? alpha->number(-1e6, 1e6) : spec.lora.alpha;
}

}  // namespace detail

/// Plain LoRA is written as PEFT's LORA, and so is DoRA with use_dora; everything else as MOLORA.
inline bool is_plain_peft(const AdapterSpec& spec) {
    return (spec.method == Method::lora || spec.method_name() == detail::kDoraName) && spec.top_k == 0;
}

namespace detail {

/// target_modules, target_parameters and the two patterns of an adapter.
struct TargetLists {
    std::vector<std::string> modules, parameters;
    Json ranks = Json::object(), alphas = Json::object();
};

inline TargetLists target_lists(const AdapterSpec& spec, const ModelConfig& config) {
    TargetLists lists;
    for (const char* one : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
        if (spec.wants(one, "attention")) lists.modules.emplace_back(one);
    }
    if (!config.is_mixture()) {
        for (const char* one : {"gate_proj", "up_proj", "down_proj"}) {
            if (spec.wants(one, "mlp")) lists.modules.emplace_back(one);
        }
    } else {
        for (const char* one : {"w1", "w2", "w3"}) {
            if (spec.names(one)) lists.modules.emplace_back(one);
        }
        if (spec.wants("experts.gate_up", "experts"))
            lists.parameters.emplace_back("mlp.experts.gate_up_proj");
        if (spec.wants("experts.down", "experts")) lists.parameters.emplace_back("mlp.experts.down_proj");
    }
    if (spec.gate_up_rank > 0) {
        lists.ranks.add(".*\\.gate_up_proj", spec.gate_up_rank);
        lists.alphas.add(".*\\.gate_up_proj", spec.gate_up_alpha);
    }
    return lists;
}

/// The same where places differ: whole names, and a pattern for every rank and alpha that is not the usual one.
inline TargetLists place_lists(const AdapterSpec& spec, const ModelConfig& config) {
    TargetLists lists;
    const auto add = [&](std::vector<std::string>& to, const std::string& name) { to.push_back(name); };
    for (const AdapterPlace& place : spec.places) {
        std::string pattern = place.path;
        if (place.path.ends_with(".experts.gate_up_proj") || place.path.ends_with(".experts.down_proj")) {
            add(lists.parameters, place.path);
        } else if (const auto at = place.path.rfind(".mlp.experts.w"); at != std::string::npos) {
            const std::string moe = place.path.substr(0, at) + ".block_sparse_moe.experts.";
            const bool down = place.path.ends_with(".w2");
            for (Index e = 0; e < config.num_local_experts; ++e) {
                const std::string expert = moe + std::to_string(e);
                for (const char* one : {"w1", "w2", "w3"}) {
                    if ((one[1] == '2') == down) add(lists.modules, expert + "." + one);
                }
            }
            pattern = moe + "\\d+." + (down ? "w2" : "w[13]");
        } else {
            add(lists.modules, place.path);
        }
        if (place.rank != spec.lora.rank) lists.ranks.add(pattern, place.rank);
        if (place.alpha != spec.lora.alpha) lists.alphas.add(pattern, place.alpha);
    }
    return lists;
}

}  // namespace detail

inline Json to_json(const AdapterSpec& spec, const ModelConfig& config) {
    detail::TargetLists lists =
        spec.places.empty() ? detail::target_lists(spec, config) : detail::place_lists(spec, config);
    if (config.is_mixture() && spec.gate_mode() == GateMode::lora) lists.modules.emplace_back("gate");
    Json json = Json::object();
    json.add("peft_type", is_plain_peft(spec) ? "LORA" : "MOLORA");
    json.add("r", spec.lora.rank);
    json.add("lora_alpha", spec.lora.alpha);
    json.add("lora_dropout", spec.lora.dropout);
    json.add("use_rslora", spec.lora.scale == LoraOptions::Scale::alpha_over_sqrt_rank);
    if (spec.method_name() == detail::kDoraName) json.add("use_dora", true);
    if (!lists.ranks.members()->empty()) json.add("rank_pattern", lists.ranks);
    if (!lists.alphas.members()->empty()) json.add("alpha_pattern", lists.alphas);
    json.add("bias", "none");
    json.add("fan_in_fan_out", false);
    json.add("inference_mode", true);
    json.add("target_modules", detail::string_list(lists.modules));
    json.add("target_parameters", detail::string_list(lists.parameters));
    json.add("modules_to_save",
             spec.gate_mode() == GateMode::full ? detail::string_list({"gate"}) : Json(nullptr));
    json.add("base_model_name_or_path", Json(nullptr));
    json.add("task_type", "CAUSAL_LM");
    if (!is_plain_peft(spec)) json.add("moegrad", detail::router_block(spec));
    return json;
}

/// `files_tensors`: the names in adapter_model.safetensors, for configurations that name modules by a pattern.
inline AdapterSpec parse_adapter_config(const JsonRef& root, const ModelConfig& config,
                                        const std::set<std::string>* files_tensors = nullptr) {
    const std::string path = root.place();
    detail::refuse_foreign(root);
    detail::refuse_unknown_features(root);
    AdapterSpec spec;
    const std::string& type = root.at("peft_type").string();
    if (type != "LORA" && type != "MOLORA") root.at("peft_type").fail_unsupported("LORA or MOLORA");
    spec.lora.rank = root.at("r").integer(1, 1 << 16);
    spec.lora.alpha = root.at("lora_alpha").number(-1e6, 1e6);
    if (const auto dropout = root.find_value("lora_dropout")) spec.lora.dropout = dropout->number(0, 1);
    if (const auto rs = root.find_value("use_rslora"); rs && rs->boolean()) {
        spec.lora.scale = LoraOptions::Scale::alpha_over_sqrt_rank;
    }
    if (type == "MOLORA") {
        detail::read_gate_up_rank(root, spec);
        detail::read_router_block(root.at("moegrad"), spec);
        return spec;
    }
    if (const auto dora = root.find_value("use_dora"); dora && dora->boolean())
        spec.set_method(detail::kDoraName);
    AdapterTargets(root, config, {spec.lora.rank, spec.lora.alpha}, files_tensors).write(spec, path);
    if (spec.gate_mode() != GateMode::frozen && !config.is_mixture()) {
        throw Error{ErrorCode::config, path, "a model with a router", "a dense model"};
    }
    return spec;
}

inline AdapterSpec load_adapter_config(const std::string& folder, const ModelConfig& config,
                                       const std::set<std::string>* files_tensors = nullptr) {
    const std::string path = folder + "/adapter_config.json";
    const Json json = parse_json_file(path);
    return parse_adapter_config(JsonRef(json, path), config, files_tensors);
}

}  // namespace moegrad
