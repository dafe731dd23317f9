#pragma once
// ModelConfig to config.json, in the spelling that transformers 4 and 5 both read.

#include <moegrad/core/model_config.hpp>
#include <moegrad/io/json_value.hpp>

#include <string>
#include <utility>

namespace moegrad {

inline Json rope_scaling_json(const RopeConfig& rope) {
    if (rope.type == RopeType::standard) return Json();
    Json json = Json::object();
    json.add("rope_type", rope.type == RopeType::linear ? "linear" : "llama3");
    json.add("factor", rope.factor);
    if (rope.type == RopeType::llama3) {
        json.add("low_freq_factor", rope.low_freq_factor);
        json.add("high_freq_factor", rope.high_freq_factor);
        json.add("original_max_position_embeddings", rope.original_max_position_embeddings);
    }
    return json;
}

/// Reads back to an equal ModelConfig.
inline Json to_json(const ModelConfig& config) {
    validate(config);
    const char* architecture = config.model_type == ModelFamily::llama     ? "LlamaForCausalLM"
                               : config.model_type == ModelFamily::mistral ? "MistralForCausalLM"
                                                                           : "MixtralForCausalLM";
    Json json = Json::object();
    json.add("architectures", Json::Array{architecture});
    json.add("model_type", std::string(name(config.model_type)));
    json.add("attention_dropout", 0.0);
    json.add("bos_token_id", config.bos_token_id ? Json(std::int64_t{*config.bos_token_id}) : Json());
    Json eos;
    if (config.eos_token_ids.size() == 1) eos = Json(std::int64_t{config.eos_token_ids[0]});
    if (config.eos_token_ids.size() > 1)
        eos = Json(Json::Array(config.eos_token_ids.begin(), config.eos_token_ids.end()));
    json.add("eos_token_id", std::move(eos));
    json.add("head_dim", config.head_dim);
    json.add("hidden_act", "silu");
    json.add("hidden_size", config.hidden_size);
    json.add("initializer_range", config.initializer_range);
    json.add("intermediate_size", config.intermediate_size);
    json.add("max_position_embeddings", config.max_position_embeddings);
    json.add("num_attention_heads", config.num_attention_heads);
    json.add("num_hidden_layers", config.num_hidden_layers);
    json.add("num_key_value_heads", config.num_key_value_heads);
    json.add("rms_norm_eps", config.rms_norm_eps);
    json.add("rope_scaling", rope_scaling_json(config.rope));
    json.add("rope_theta", config.rope.theta);
    if (config.model_type != ModelFamily::llama)
        json.add("sliding_window", config.sliding_window ? Json(*config.sliding_window) : Json());
    json.add("tie_word_embeddings", config.tie_word_embeddings);
    if (!config.dtype.empty()) json.add("torch_dtype", config.dtype);
    json.add("vocab_size", config.vocab_size);
    if (config.is_mixture()) {
        json.add("num_experts_per_tok", config.num_experts_per_tok);
        json.add("num_local_experts", config.num_local_experts);
        json.add("router_aux_loss_coef", config.router_aux_loss_coef);
    }
    return json;
}

}  // namespace moegrad
