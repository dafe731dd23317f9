#pragma once
// What an adapter_config.json may not ask for. A key we do not know must be off (null, false, empty): anything else would
// change the maths silently.

#include <algorithm>
#include <string_view>

#include <moegrad/io/json.hpp>

namespace moegrad {

namespace detail {

/// Keys that say nothing about the weights, or are read elsewhere.
inline bool is_informational(std::string_view key) {
    constexpr std::string_view known[] = {"auto_mapping",
                                          "base_model_name_or_path",
                                          "inference_mode",
                                          "init_lora_weights",
                                          "megatron_core",
                                          "peft_version",
                                          "qalora_group_size",
                                          "rank_pattern",
                                          "alpha_pattern",
                                          "revision",
                                          "task_type",
                                          "peft_type",
                                          "r",
                                          "lora_alpha",
                                          "lora_dropout",
                                          "use_dora",
                                          "use_rslora",
                                          "target_modules",
                                          "target_parameters",
                                          "modules_to_save",
                                          "bias",
                                          "exclude_modules",
                                          "layers_to_transform",
                                          "layers_pattern",
                                          "moegrad",
                                          "runtime_config"};
    return std::find(std::begin(known), std::end(known), key) != std::end(known);
}

inline bool is_off(const Json& value) {
    if (value.is_null() || value.boolean() == false) return true;
    if (const auto* text = value.string()) return text->empty() || *text == "none";
    if (const auto* items = value.array()) return items->empty();
    if (const auto* members = value.members()) return members->empty();
    return false;
}

/// Folders that look like PEFT's and are another program's.
inline void refuse_foreign(const JsonRef& root) {
    const auto type = root.find_value("peft_type");
    const bool named =
        type && type->value().string() &&
        (type->string() == "MIXLORA" || type->string() == "LORAMOE" || type->string() == "MOLA");
    if (!named && !root.find("routing_strategy") && !root.find("expert_lora")) return;
    throw Error{ErrorCode::unsupported, root.place(), "an adapter of PEFT or of moegrad",
                format("one of MoE-PEFT (peft_type {})", type ? type->value().describe() : "absent"),
                "MoE-PEFT's routers over LoRA experts (mixlora, loramoe, mola) have no reader here"};
}

/// What would change the maths and is not there, by name.
inline void refuse_unknown_features(const JsonRef& root) {
    for (const auto& member : root.members()) {
        if (!is_informational(member.key) && !is_off(member.value)) {
            root.member(member).fail_unsupported("a feature that is off",
                                                 "this adapter needs something moegrad lacks");
        }
    }
    if (const auto bias = root.find_value("bias"); bias && bias->string() != "none")
        bias->fail_unsupported("none");
    if (const auto start = root.find_value("init_lora_weights"); start && !start->value().boolean()) {
        const std::string& how =
            start->string();  // these rewrite the base weights, so ours would not be theirs
        for (const char* rewriting : {"pissa", "olora", "corda", "loftq", "lora_ga"}) {
            if (how.starts_with(rewriting)) start->fail_unsupported("a start that leaves the base as it is");
        }
    }
}

}  // namespace detail

}  // namespace moegrad
