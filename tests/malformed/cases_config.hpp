#pragma once
// I: config.json. A key that might change what the model computes is read or refused, never skipped.

#include <malformed/case.hpp>
#include <moegrad/core/format.hpp>

namespace malformed {

/// A small Mixtral's keys in order; `key` gets another value, or goes when the value is empty, or comes at the end.
inline std::string config_with(const std::string& key = {}, const std::string& value = {},
                               const char* family = "mixtral") {
    std::vector<std::pair<std::string, std::string>> keys = {
        {"model_type", moegrad::format("\"{}\"", family)},
        {"hidden_size", "64"},
        {"intermediate_size", "96"},
        {"num_hidden_layers", "2"},
        {"num_attention_heads", "4"},
        {"num_key_value_heads", "2"},
        {"vocab_size", "270"},
        {"rms_norm_eps", "1e-5"},
        {"rope_theta", "10000.0"},
        {"tie_word_embeddings", "false"}};
    if (std::string(family) == "mixtral") {
        keys.push_back({"num_local_experts", "4"});
        keys.push_back({"num_experts_per_tok", "2"});
    }
    bool found = key.empty();
    std::string out;
    for (auto& pair : keys) {
        if (pair.first == key) {
            found = true;
            pair.second = value;
        }
        if (!pair.second.empty()) out += (out.empty() ? "{\"" : ",\"") + pair.first + "\":" + pair.second;
    }
    return out + (found ? "}" : ",\"" + key + "\":" + value + "}");
}

class ConfigRows {
public:
    ConfigRows& bad(const char* id, const char* what, const std::string& key, const std::string& value,
                    const char* words, const std::string& legal, ErrorCode code = ErrorCode::config,
                    const std::string& place = {}) {
        cases.push_back({id,
                         what,
                         Reader::config,
                         {{"config.json", config_with(key, value)}},
                         {{"config.json", legal.empty() ? config_with() : config_with(key, legal)}},
                         code,
                         "config.json: " + (place.empty() ? key : place),
                         words});
        return *this;
    }
    Cases cases;
};

inline void add_sizes(ConfigRows& rows) {
    rows.bad("I01", "hidden_size 0", "hidden_size", "0", "an integer in 1..", "64")
        .bad("I01b", "hidden_size -1", "hidden_size", "-1", "an integer in 1..", "64")
        .bad("I01c", "hidden_size 2^31", "hidden_size", "2147483648", "an integer in 1..1048576", "64")
        .bad("I01d", "hidden_size 1e9", "hidden_size", "1e9", "an integer in 1..", "64")
        .bad("I01e", "hidden_size as text", "hidden_size", "\"64\"", "got:      \"64\"", "64")
        .bad("I01f", "no hidden_size", "hidden_size", "", "no such key", "64")
        .bad("I01g", "hidden_size that the heads do not divide", "hidden_size", "66",
             "a multiple of the 4 heads", "64")
        .bad("I02", "more experts per token than experts", "num_experts_per_tok", "5", "an integer in 1..4",
             "4")
        .bad("I02b", "no expert per token", "num_experts_per_tok", "0", "an integer in 1..4", "1")
        .bad("I02c", "no experts", "num_local_experts", "0", "an integer in 1..", "8")
        .bad("I02d", "two counts of experts", "num_experts", "8", "an integer in 4..4", "4")
        .bad("I03", "key heads that do not divide the heads", "num_key_value_heads", "3", "a divisor of", "4")
        .bad("I03b", "no key heads", "num_key_value_heads", "0", "an integer in 1..", "1")
        .bad("I04", "odd head_dim", "head_dim", "15", "an even number", "16")
        .bad("I05", "rope_theta 0", "rope_theta", "0", "a number in", "1e6")
        .bad("I05b", "rope_theta negative", "rope_theta", "-10000", "a number in", "1e6")
        .bad("I05c", "rope_theta as text", "rope_theta", "\"NaN\"", "a number in", "1e6")
        .bad("I07", "10^9 layers", "num_hidden_layers", "1000000000", "an integer in 1..4096", "2")
        .bad("I11", "rms_norm_eps 0", "rms_norm_eps", "0", "a number in", "1e-6")
        .bad("I11b", "rms_norm_eps negative", "rms_norm_eps", "-1e-5", "a number in", "1e-6")
        .bad("I11c", "rms_norm_eps 1e9", "rms_norm_eps", "1e9", "a number in", "1e-6")
        .bad("I13", "max_position_embeddings 2^40", "max_position_embeddings", "1099511627776",
             "an integer in 1..2147483648", "131072")
        .bad("I13b", "vocab_size 2^31", "vocab_size", "2147483648", "an integer in 1..16777216", "270");
}

inline void add_settings(ConfigRows& rows) {
    const ErrorCode unsupported = ErrorCode::unsupported;
    rows.bad("I08", "unknown family", "model_type", "\"gpt_neo\"", "got:      \"gpt_neo\"", "\"mixtral\"",
             unsupported)
        .bad("I08b", "unknown activation", "hidden_act", "\"gelu\"", "got:      \"gelu\"", "\"silu\"",
             unsupported)
        .bad("I08c", "no family", "model_type", "", "no such key", "\"mixtral\"")
        .bad("I08d", "a family that is a number", "model_type", "7", "a string", "\"mixtral\"")
        .bad("I10", "quantised weights", "quantization_config", R"({"bits":4})", "not quantised", "null",
             unsupported)
        .bad("I16", "norm_topk_prob", "norm_topk_prob", "false", "may change what the model computes", "")
        .bad("I16b", "scoring_func", "scoring_func", "\"sigmoid\"", "may change what the model computes", "")
        .bad("I16c", "n_group", "n_group", "8", "may change what the model computes", "")
        .bad("I16d", "topk_group", "topk_group", "4", "may change what the model computes", "")
        .bad("I16e", "routed_scaling_factor", "routed_scaling_factor", "2.5",
             "may change what the model computes", "")
        .bad("I16f", "a key with a typo", "rms_norm_epsilon", "1e-5", "may change what the model computes",
             "")
        .bad("I17", "unknown rope type", "rope_scaling", R"({"type":"yarn","factor":4})",
             "got:      \"yarn\"", R"({"type":"linear","factor":4})", unsupported, "rope_scaling.type")
        .bad("I17b", "rope factor 0", "rope_scaling", R"({"type":"linear","factor":0})", "1..1000000",
             R"({"type":"linear","factor":1})", ErrorCode::config, "rope_scaling.factor")
        .bad("I17c", "rope factor missing", "rope_scaling", R"({"type":"linear"})", "no such key", "null",
             ErrorCode::config, "rope_scaling.factor")
        .bad("I17d", "unknown rope key", "rope_scaling", R"({"type":"linear","factor":2,"beta":1})",
             "a known rope key", "null", ErrorCode::config, "rope_scaling.beta")
        .bad("I18", "tie_word_embeddings as a number", "tie_word_embeddings", "1", "true or false", "true")
        .bad("I18b", "a token id outside the vocabulary", "eos_token_id", "270", "an integer in 0..269",
             "269")
        .bad("I18c", "attention_bias", "attention_bias", "true", "false", "false", unsupported)
        .bad("I18d", "sliding window 0", "sliding_window", "0", "an integer in 1..", "4096")
        .bad("I19", "unknown torch_dtype", "torch_dtype", "\"int4\"", "float32", "\"bfloat16\"");
}

inline Cases config_cases() {
    ConfigRows rows;
    add_sizes(rows);
    add_settings(rows);
    const auto whole_file = [&](const char* id, const char* what, std::string content, const char* words) {
        rows.cases.push_back({id,
                              what,
                              Reader::config,
                              {{"config.json", std::move(content)}},
                              {{"config.json", config_with()}},
                              ErrorCode::format,
                              "config.json",
                              words});
    };
    whole_file("I14", "a key twice", "{\"vocab_size\":3," + config_with().substr(1), "\"vocab_size\" twice");
    whole_file("I14b", "empty file", "", "valid JSON");
    whole_file("I14c", "nested 17 deep", "{\"a\":" + std::string(17, '['), "16 deep");
    whole_file("I14d", "NaN", config_with("rope_theta", "NaN"), "valid JSON");
    whole_file("I14e", "a comment", "// small\n" + config_with(), "valid JSON");
    std::string wide = config_with("num_local_experts", "65536");
    for (const auto& [from, to] :
         {std::pair<std::string, std::string>{"\"hidden_size\":64", "\"hidden_size\":1048576"},
          {"\"intermediate_size\":96", "\"intermediate_size\":4194304"},
          {"\"num_hidden_layers\":2", "\"num_hidden_layers\":4096"},
          {"\"num_attention_heads\":4", "\"num_attention_heads\":1024"}})
        wide.replace(wide.find(from), from.size(), to);
    rows.cases.push_back({"I15",
                          "experts' weights past 2^63",
                          Reader::config,
                          {{"config.json", wide}},
                          {{"config.json", config_with()}},
                          ErrorCode::config,
                          "config.json",
                          "weights of all experts"});
    // Code in a checkpoint is never run, so a key that names some is only a name.
    rows.cases.push_back({"I09",
                          "auto_map is not used",
                          Reader::config,
                          {},
                          {{"config.json", config_with("auto_map", R"({"AutoModel":"evil.py--Model"})")}}});
    return rows.cases;
}

}  // namespace malformed
