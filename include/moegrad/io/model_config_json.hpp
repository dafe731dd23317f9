#pragma once
// config.json to ModelConfig and back. Every key is either read, or known not to change what the model computes, or an
// error: a setting that is silently ignored is a wrong model. transformers 4 and 5 spellings are both read:
// rope_theta + rope_scaling or rope_parameters, torch_dtype or dtype, num_local_experts or num_experts.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/core/model_config.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/io/memory_guard.hpp>
#include <moegrad/io/model_config_keys.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moegrad {

inline bool is_known_config_key(ModelFamily family, std::string_view key) {
    return is_listed(kHarmlessConfigKeys, key) || is_listed(kReadConfigKeys, key) ||
           (family == ModelFamily::mixtral && is_listed(kReadMixtralKeys, key));
}

inline void reject_unknown_keys(const JsonRef& root, ModelFamily family) {
    for (const JsonMember& member : root.members()) {
        if (!is_known_config_key(family, member.key))
            root.member(member).fail(
                moegrad::format("keys that a {} model has", name(family)),
                "this key may change what the model computes; remove it only if you know that it does not");
    }
}

inline ModelFamily read_family(const JsonRef& root) {
    const JsonRef type = root.at("model_type");
    for (const ModelFamily family : {ModelFamily::llama, ModelFamily::mistral, ModelFamily::mixtral})
        if (type.string() == name(family)) return family;
    type.fail_unsupported("llama, mistral or mixtral");
}

/// Settings of the same family that have no implementation here.
inline void reject_unsupported(const JsonRef& root, ModelFamily family) {
    for (const std::string_view key : {"attention_bias", "mlp_bias", "is_encoder_decoder"})
        if (const auto value = root.find_value(key); value && value->boolean())
            value->fail_unsupported("false");
    if (const auto value = root.find("quantization_config"); value && !value->is_null())
        value->fail_unsupported("weights that are not quantised");
    if (const auto value = root.find_value("hidden_act"); value && value->string() != "silu")
        value->fail_unsupported("\"silu\"");
    // Both act in training only, and are 0 in every published checkpoint of these families.
    for (const std::string_view key : {"attention_dropout", "router_jitter_noise"})
        if (const auto value = root.find_value(key); value && value->number(0, 1) != 0.0)
            value->fail_unsupported("0");
    if (const auto value = root.find_value("sliding_window"); value && family == ModelFamily::llama)
        value->fail_unsupported("null: a llama model has no sliding window");
}

/// Mixed layers are another family; a list that says the same for every layer is accepted.
inline void check_layer_types(const JsonRef& root, const ModelConfig& config) {
    const auto types = root.find_value("layer_types");
    if (!types) return;
    const std::string_view expected = config.sliding_window ? "sliding_attention" : "full_attention";
    if (static_cast<Index>(types->array().size()) != config.num_hidden_layers)
        types->fail(moegrad::format("{} entries", config.num_hidden_layers));
    for (std::size_t i = 0; i < types->array().size(); ++i)
        if (types->item(i).string() != expected)
            types->item(i).fail_unsupported(moegrad::format("\"{}\" in every layer", expected));
}

/// One rope object: rope_scaling of transformers 4 or rope_parameters of 5.
inline void read_rope_object(const JsonRef& object, RopeConfig& rope) {
    constexpr std::string_view known[] = {"type",
                                          "rope_type",
                                          "rope_theta",
                                          "factor",
                                          "low_freq_factor",
                                          "high_freq_factor",
                                          "original_max_position_embeddings",
                                          "partial_rotary_factor"};
    for (const JsonMember& member : object.members())
        if (!is_listed(known, member.key)) object.member(member).fail("a known rope key");
    auto type = object.find_value("rope_type");
    const auto old_type = object.find_value("type");
    if (type && old_type && type->string() != old_type->string())
        type->fail(moegrad::format("the same as type, {}", old_type->value().describe()));
    if (!type) type = old_type;
    const std::string word = type ? type->string() : "default";
    if (word == "default")
        rope.type = RopeType::standard;
    else if (word == "linear")
        rope.type = RopeType::linear;
    else if (word == "llama3")
        rope.type = RopeType::llama3;
    else
        type->fail_unsupported("default, linear or llama3");
    if (const auto part = object.find_value("partial_rotary_factor"); part && part->number(0, 1) != 1.0)
        part->fail_unsupported("1");

    const auto number = [&](std::string_view key, bool wanted, double& out) {
        const auto value = object.find_value(key);
        if (wanted) out = object.at(key).number(-1e300, 1e300);
        if (!wanted && value) value->fail(moegrad::format("no such key with rope type {}", word));
    };
    number("factor", rope.type != RopeType::standard, rope.factor);
    number("low_freq_factor", rope.type == RopeType::llama3, rope.low_freq_factor);
    number("high_freq_factor", rope.type == RopeType::llama3, rope.high_freq_factor);
    const auto original = object.find_value("original_max_position_embeddings");
    if (rope.type == RopeType::llama3)
        rope.original_max_position_embeddings =
            object.at("original_max_position_embeddings").integer(1, config_cap::kPositions);
    else if (original)
        original->fail(moegrad::format("no such key with rope type {}", word));
}

inline void read_rope(const JsonRef& root, RopeConfig& rope) {
    const auto scaling = root.find_value("rope_scaling"), parameters = root.find_value("rope_parameters");
    std::optional<double> theta;
    const auto take_theta = [&](const std::optional<JsonRef>& value) {
        if (!value) return;
        const double found = value->number(1e-3, 1e12);
        if (theta && *theta != found) value->fail(moegrad::format("the other rope_theta, {}", *theta));
        theta = found;
    };
    take_theta(root.find_value("rope_theta"));
    std::optional<RopeConfig> first;
    for (const auto& object : {scaling, parameters}) {
        if (!object) continue;
        take_theta(object->find_value("rope_theta"));
        RopeConfig read;
        read_rope_object(*object, read);
        if (first && !(*first == read)) object->fail("rope_scaling and rope_parameters that agree");
        first = read;
    }
    const double given = theta.value_or(rope.theta);
    if (first) rope = *first;
    rope.theta = given;
}

/// Token ids: null, one integer, or a list where `many` allows it.
inline std::vector<std::int32_t> read_token_ids(const JsonRef& value, Index vocab_size) {
    std::vector<std::int32_t> ids;
    const auto one = [&](const JsonRef& id) {
        const auto number = static_cast<std::int32_t>(id.integer(0, vocab_size - 1));
        if (std::find(ids.begin(), ids.end(), number) == ids.end()) ids.push_back(number);
    };
    if (value.is_null()) return ids;
    if (!value.value().array()) {
        one(value);
        return ids;
    }
    for (std::size_t i = 0; i < value.array().size(); ++i) one(value.item(i));
    return ids;
}

inline void read_mixture(const JsonRef& root, ModelConfig& config) {
    const auto experts = root.find_value("num_local_experts"), alias = root.find_value("num_experts");
    const JsonRef count = experts ? *experts : alias ? *alias : root.at("num_local_experts");
    config.num_local_experts = count.integer(1, config_cap::kExperts);
    if (experts && alias)
        static_cast<void>(alias->integer(config.num_local_experts, config.num_local_experts));
    config.num_experts_per_tok = root.at("num_experts_per_tok").integer(1, config.num_local_experts);
    if (const auto value = root.find_value("router_aux_loss_coef"))
        config.router_aux_loss_coef = value->number(0, 1e3);
}

inline void read_attention(const JsonRef& root, ModelConfig& config) {
    config.num_attention_heads = root.at("num_attention_heads").integer(1, config_cap::kHeads);
    // Absent: the class default, which is 8 in mistral and mixtral. null: as many as query heads.
    const auto groups = root.find("num_key_value_heads");
    if (groups && !groups->is_null())
        config.num_key_value_heads = groups->integer(1, config_cap::kHeads);
    else
        config.num_key_value_heads =
            groups || config.model_type == ModelFamily::llama ? config.num_attention_heads : 8;
    if (const auto value = root.find_value("head_dim")) {
        config.head_dim = value->integer(1, config_cap::kHeadDim);
    } else {
        if (config.hidden_size % config.num_attention_heads != 0)
            root.at("hidden_size")
                .fail(moegrad::format("a multiple of the {} heads", config.num_attention_heads));
        config.head_dim = config.hidden_size / config.num_attention_heads;
    }
    if (const auto value = root.find("sliding_window"); value && config.model_type != ModelFamily::llama) {
        config.sliding_window.reset();
        if (!value->is_null()) config.sliding_window = value->integer(1, config_cap::kPositions);
    }
}

inline std::string read_dtype(const JsonRef& root) {
    std::string dtype;
    for (const std::string_view key : {"torch_dtype", "dtype"}) {
        const auto value = root.find_value(key);
        if (!value) continue;
        constexpr std::string_view known[] = {"float32", "float64", "float16", "bfloat16"};
        if (!is_listed(known, value->string())) value->fail("float32, float64, float16 or bfloat16");
        if (!dtype.empty() && dtype != value->string()) value->fail("the same as torch_dtype, " + dtype);
        dtype = value->string();
    }
    return dtype;
}

inline ModelConfig parse_model_config(const Json& json, const std::string& place) {
    const JsonRef root(json, place);
    const ModelFamily family = read_family(root);
    reject_unsupported(root, family);
    reject_unknown_keys(root, family);
    ModelConfig config = family_defaults(family);
    config.hidden_size = root.at("hidden_size").integer(1, config_cap::kHidden);
    config.intermediate_size = root.at("intermediate_size").integer(1, config_cap::kIntermediate);
    config.num_hidden_layers = root.at("num_hidden_layers").integer(1, config_cap::kLayers);
    config.vocab_size = root.at("vocab_size").integer(1, config_cap::kVocabulary);
    read_attention(root, config);
    if (const auto value = root.find_value("max_position_embeddings"))
        config.max_position_embeddings = value->integer(1, config_cap::kPositions);
    if (const auto value = root.find_value("rms_norm_eps")) config.rms_norm_eps = value->number(1e-12, 0.1);
    if (const auto value = root.find_value("initializer_range"))
        config.initializer_range = value->number(0, 1);
    if (const auto value = root.find_value("tie_word_embeddings"))
        config.tie_word_embeddings = value->boolean();
    read_rope(root, config.rope);
    check_layer_types(root, config);
    if (const auto value = root.find("bos_token_id")) {
        config.bos_token_id.reset();
        if (!value->is_null())
            config.bos_token_id = static_cast<std::int32_t>(value->integer(0, config.vocab_size - 1));
    }
    if (const auto value = root.find("eos_token_id"))
        config.eos_token_ids = read_token_ids(*value, config.vocab_size);
    config.dtype = read_dtype(root);
    if (family == ModelFamily::mixtral) read_mixture(root, config);
    validate(config, place);
    return config;
}

inline ModelConfig load_model_config(const std::string& folder, Links links = usual_links()) {
    return memory_guard(folder, [&]() -> ModelConfig {
        const std::string path = folder + "/config.json";
        return parse_model_config(parse_json_file(path, {16, std::size_t{16} << 20, 1'000'000}, links), path);
    });
}

}  // namespace moegrad
