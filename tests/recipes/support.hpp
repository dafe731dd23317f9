#pragma once
// The recipes of models/recipes that `moegrad train` reads, each on a small model of its family.

#include <moegrad/methods/all.hpp>
#include <moegrad/toml_config.hpp>

#include <algorithm>
#include <filesystem>
#include <map>

#include "support/model_small.hpp"

namespace moegrad::recipe_test {

inline const std::string kRecipes = std::string(MOEGRAD_SOURCE_DIR) + "/models/recipes/";

/// Those of `moegrad train`; recipes of pretraining and comparisons have parsers of their own.
inline std::vector<std::string> train_recipes() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(kRecipes)) {
        const std::string name = entry.path().filename().string();
        const bool other = name.starts_with("pretrain") || name.find("compare") != name.npos ||
                           name.starts_with("demo") || !name.ends_with(".toml");
        if (!other) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

/// As the file has it; what belongs to one size of model (lists of layers) as fits the small one.
inline RunConfig recipe(const std::string& name) {
    RunConfig config;
    read_toml_config(config, kRecipes + name);
    auto& experts = config.adapter.experts_per_layer;
    if (experts.size() > 2) experts.resize(2);
    // Folders of adapters that somebody trained before: random ones stand for them.
    std::string& options = config.adapter.options;
    if (options.find("adapters=") != std::string::npos) options = "experts=2";
    // Listed experts of 32 layers: those of the first two.
    for (const char* list : {"picked=", "block="}) {
        const std::size_t begin = options.find(list);
        if (begin == std::string::npos) continue;
        const std::size_t end = std::min(options.find(',', begin), options.size());
        const std::size_t second = options.find('/', options.find('/', begin) + 1);
        if (second < end) options.erase(second, end - second);
    }
    return config;
}

inline ModelConfig family_of(const std::string& name) {
    ModelConfig config =
        test::small_config(name.find("mixtral") != name.npos ? ModelFamily::mixtral : ModelFamily::llama);
    if (config.is_mixture()) config.num_local_experts = 8;
    return config;
}

}  // namespace moegrad::recipe_test
