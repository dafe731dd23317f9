#pragma once
// GenerationConfig: the ids at which generation begins and stops, from generation_config.json if the folder has one,
// else from config.json. Sampling settings in that file are not read: the command line decides them.

#include <moegrad/io/json.hpp>
#include <moegrad/io/model_config_json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moegrad {

struct GenerationConfig {
    std::optional<std::int32_t> bos_token_id;
    std::vector<std::int32_t> eos_token_ids;  // any of them stops; empty when nothing does
};

/// A key that is absent keeps the model's value; null means none.
inline GenerationConfig parse_generation_config(const Json& json, const std::string& place,
                                                const ModelConfig& model) {
    const JsonRef root(json, place);
    GenerationConfig config{model.bos_token_id, model.eos_token_ids};
    if (const auto value = root.find("eos_token_id"))
        config.eos_token_ids = read_token_ids(*value, model.vocab_size);
    if (const auto value = root.find("bos_token_id")) {
        config.bos_token_id.reset();
        if (!value->is_null())
            config.bos_token_id = static_cast<std::int32_t>(value->integer(0, model.vocab_size - 1));
    }
    return config;
}

inline GenerationConfig load_generation_config(const std::string& folder, const ModelConfig& model,
                                               Links links = usual_links()) {
    const std::string path = folder + "/generation_config.json";
    if (!file_exists(path)) return {model.bos_token_id, model.eos_token_ids};
    return parse_generation_config(parse_json_file(path, {16, std::size_t{1} << 20, 100'000}, links), path,
                                   model);
}

}  // namespace moegrad
