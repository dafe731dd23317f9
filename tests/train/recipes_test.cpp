// The recipes of published set-ups: every one is read in full, fits a small model of its family, and says what it must.

#include <doctest/doctest.h>

#include <moegrad/methods/attach.hpp>
#include <moegrad/toml_config.hpp>

#include <filesystem>

#include "support/model_small.hpp"

using namespace moegrad;

#ifdef MOEGRAD_HAVE_TOML

namespace {

const std::string kRecipes = std::string(MOEGRAD_SOURCE_DIR) + "/models/recipes/";

/// Those of `moegrad train`; recipes of pretraining and comparisons have parsers of their own.
std::vector<std::string> train_recipes() {
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

RunConfig recipe(const std::string& name) {
    RunConfig config;
    read_toml_config(config, kRecipes + name);
    return config;
}

ModelConfig family_of(const std::string& name) {
    ModelConfig config =
        test::small_config(name.find("mixtral") != name.npos ? ModelFamily::mixtral : ModelFamily::llama);
    if (config.is_mixture()) config.num_local_experts = 8;
    return config;
}

}  // namespace

TEST_CASE("recipes: every one is read, fits its family and trains something") {
    const auto names = train_recipes();
    CHECK(names.size() == 7);
    for (const std::string& name : names) {
        CAPTURE(name);
        const RunConfig config = recipe(name);
        const ModelConfig family = family_of(name);
        const auto model = test::small_model<float>(family);
        const AdapterSpec spec = config.adapter_for(family);
        CHECK_NOTHROW(attach(*model, spec));
        CHECK_FALSE(trainable_parameters(*model).empty());
        CHECK(config.adamw.weight_decay == 0);
        CHECK(config.output == "runs/" + name.substr(0, name.size() - 5));
        CHECK(config.rate.shape == LearningRate::Shape::linear);
        // A model of the other family has no place for it, or it would train something else.
        CHECK(name.starts_with(spec.method == Method::molora ? "mola" : spec.method_name()));
    }
}

TEST_CASE("recipes: AdaMoE's experiments have the paper's numbers") {
    const RunConfig mixtral = recipe("adamoe-mixtral-8x7b.toml"), llama = recipe("adamoe-llama2-7b.toml");
    CHECK(mixtral.adapter.null_experts == 8);
    CHECK(mixtral.adapter.top_k == 3);
    CHECK(mixtral.adapter.lora.rank == 8);
    CHECK(mixtral.adapter.gate == GateMode::lora);
    CHECK(mixtral.adapter.targets == std::vector<std::string>{"w1", "w2", "w3"});
    CHECK(mixtral.adapter.balance == BalanceLoss::adamoe_eq6);
    CHECK(mixtral.rate.peak == 5e-5);
    CHECK(mixtral.epochs == 2);
    CHECK(mixtral.balance_coefficient().per_epoch == std::vector<double>{0.02, 0.0001});
    CHECK(llama.adapter.experts == 4);
    CHECK(llama.adapter.null_experts == 5);
    CHECK(llama.adapter.top_k == 4);
    CHECK(llama.adapter.lora.rank == 8);
    CHECK(llama.rate.peak == 3e-4);
    CHECK(llama.rate.warmup == 100);
    CHECK(llama.batch == 128);
    CHECK(llama.micro_batch == 8);
    CHECK(llama.epochs == 2);
    CHECK(llama.balance_coefficient().per_epoch == std::vector<double>{0.001});
    for (const auto* one : {&mixtral, &llama}) CHECK(one->adapter.null_weights == NullWeights::over_true);
}

#endif
