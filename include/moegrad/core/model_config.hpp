#pragma once
// ModelConfig: what config.json says about a llama, mistral or mixtral model, checked.
// This header is the struct and its ranges; model_config_json.hpp reads and writes the file.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/core/view.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moegrad {

enum class ModelFamily { llama, mistral, mixtral };

constexpr std::string_view name(ModelFamily family) {
    return family == ModelFamily::llama ? "llama" : family == ModelFamily::mistral ? "mistral" : "mixtral";
}

enum class RopeType { standard, linear, llama3 };

/// Rotary frequencies f_i = theta^(-2i/d); linear divides them by factor, llama3 only the slow ones.
struct RopeConfig {
    RopeType type = RopeType::standard;
    double theta = 10000.0;
    double factor = 1.0;
    double low_freq_factor = 1.0;                // llama3
    double high_freq_factor = 4.0;               // llama3
    Index original_max_position_embeddings = 0;  // llama3

    bool operator==(const RopeConfig&) const = default;
};

/// Names are those of config.json. Zero in a count means "not set" until validate() has passed.
struct ModelConfig {
    ModelFamily model_type = ModelFamily::llama;
    Index hidden_size = 0;
    Index intermediate_size = 0;  // of one expert in mixtral
    Index num_hidden_layers = 0;
    Index num_attention_heads = 0;
    Index num_key_value_heads = 0;
    Index head_dim = 0;
    Index vocab_size = 0;
    Index max_position_embeddings = 2048;
    double rms_norm_eps = 1e-6;
    RopeConfig rope;
    std::optional<Index> sliding_window;  // a query sees itself and the window - 1 positions before it
    bool tie_word_embeddings = false;
    double initializer_range = 0.02;
    std::optional<std::int32_t> bos_token_id;
    std::vector<std::int32_t> eos_token_ids;
    std::string dtype;  // of the stored weights, as config.json says it; empty when it does not
    // mixtral only
    Index num_local_experts = 0;
    Index num_experts_per_tok = 0;
    double router_aux_loss_coef = 0.0;

    bool is_mixture() const { return model_type == ModelFamily::mixtral; }
    bool operator==(const ModelConfig&) const = default;
};

/// What the transformers class of the family fills in for a key that is absent (configuration_llama.py and
/// configuration_mixtral.py at 008e574, configuration_mistral.py at 001f85b). The sizes are never filled in.
inline ModelConfig family_defaults(ModelFamily family) {
    ModelConfig config;
    config.model_type = family;
    config.bos_token_id = 1;
    config.eos_token_ids = {2};
    config.rope.theta = family == ModelFamily::mixtral ? 1e6 : 1e4;
    config.rms_norm_eps = family == ModelFamily::mixtral ? 1e-5 : 1e-6;
    config.max_position_embeddings = family == ModelFamily::llama ? 2048 : 4096 * 32;
    if (family == ModelFamily::mistral) config.sliding_window = 4096;
    if (family == ModelFamily::mixtral) config.router_aux_loss_coef = 0.001;
    return config;
}

/// Caps far above any published model: they keep products of sizes inside 64 bits.
namespace config_cap {
inline constexpr Index kHidden = Index{1} << 20;
inline constexpr Index kIntermediate = Index{1} << 22;
inline constexpr Index kLayers = 4096;
inline constexpr Index kHeads = 4096;
inline constexpr Index kHeadDim = 4096;
inline constexpr Index kVocabulary = Index{1} << 24;
inline constexpr Index kExperts = Index{1} << 16;
inline constexpr Index kPositions = Index{1} << 31;
}  // namespace config_cap

inline void require_between(const char* key, double value, double low, double high,
                            const std::string& place) {
    if (!(value >= low && value <= high))
        throw Error{ErrorCode::config, moegrad::format("{}: {}", place, key),
                    moegrad::format("{}..{}", low, high), moegrad::format("{}", value)};
}

inline void validate_rope(const RopeConfig& rope, const std::string& place) {
    require_between("rope_theta", rope.theta, 1e-3, 1e12, place);
    if (rope.type == RopeType::standard) return;
    require_between("rope_scaling.factor", rope.factor, 1.0, 1e6, place);
    if (rope.type == RopeType::linear) return;
    require_between("rope_scaling.low_freq_factor", rope.low_freq_factor, 1e-6, 1e6, place);
    require_between("rope_scaling.high_freq_factor", rope.high_freq_factor, 1e-6, 1e6, place);
    require_between("rope_scaling.original_max_position_embeddings",
                    static_cast<double>(rope.original_max_position_embeddings), 1, config_cap::kPositions,
                    place);
    if (rope.high_freq_factor <= rope.low_freq_factor)
        throw Error{ErrorCode::config, place + ": rope_scaling", "high_freq_factor above low_freq_factor",
                    moegrad::format("{} and {}", rope.high_freq_factor, rope.low_freq_factor)};
}

/// All ranges and relations; place is the file's name.
inline void validate(const ModelConfig& config, const std::string& place = "config") {
    const auto size = [&](const char* key, Index value, Index cap) {
        require_between(key, static_cast<double>(value), 1, static_cast<double>(cap), place);
    };
    size("hidden_size", config.hidden_size, config_cap::kHidden);
    size("intermediate_size", config.intermediate_size, config_cap::kIntermediate);
    size("num_hidden_layers", config.num_hidden_layers, config_cap::kLayers);
    size("num_attention_heads", config.num_attention_heads, config_cap::kHeads);
    size("num_key_value_heads", config.num_key_value_heads, config_cap::kHeads);
    size("head_dim", config.head_dim, config_cap::kHeadDim);
    size("vocab_size", config.vocab_size, config_cap::kVocabulary);
    size("max_position_embeddings", config.max_position_embeddings, config_cap::kPositions);
    if (config.sliding_window) size("sliding_window", *config.sliding_window, config_cap::kPositions);
    require_between("rms_norm_eps", config.rms_norm_eps, 1e-12, 0.1, place);
    require_between("initializer_range", config.initializer_range, 0, 1, place);
    if (config.num_attention_heads % config.num_key_value_heads != 0)
        throw Error{ErrorCode::config, place + ": num_key_value_heads",
                    moegrad::format("a divisor of num_attention_heads = {}", config.num_attention_heads),
                    moegrad::format("{}", config.num_key_value_heads)};
    if (config.head_dim % 2 != 0)
        throw Error{ErrorCode::config, place + ": head_dim", "an even number (rotary pairs)",
                    moegrad::format("{}", config.head_dim)};
    validate_rope(config.rope, place);
    if (!config.is_mixture()) return;
    size("num_local_experts", config.num_local_experts, config_cap::kExperts);
    size("num_experts_per_tok", config.num_experts_per_tok, config.num_local_experts);
    require_between("router_aux_loss_coef", config.router_aux_loss_coef, 0, 1e3, place);
    const double expert_weights =
        static_cast<double>(config.num_hidden_layers) * static_cast<double>(config.num_local_experts) *
        static_cast<double>(config.hidden_size) * static_cast<double>(config.intermediate_size);
    require_between("weights of all experts", 3 * expert_weights, 1, 0x1p60, place);
}

}  // namespace moegrad
