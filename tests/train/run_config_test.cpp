#include <doctest/doctest.h>

#include <moegrad/train/run_config_keys.hpp>

#include "support/model_small.hpp"

using namespace moegrad;

TEST_CASE("run config: every field reads back what it prints") {
    for (const auto& field : config_fields()) {
        RunConfig config;
        const std::string text = field.get(config);
        CAPTURE(field.key);
        CHECK_NOTHROW(field.set(config, text));
        CHECK(field.get(config) == text);
    }
}

TEST_CASE("run config: an unknown key says which one was meant, a bad value what was expected") {
    RunConfig config;
    CHECK_THROWS_WITH_AS(set_config(config, "optim.learning_rat", "1", "run.toml:2:1"),
                         doctest::Contains("run.toml:2:1"), Error);
    CHECK_THROWS_WITH_AS(set_config(config, "router.topk", "1", "--router.topk"),
                         doctest::Contains("router.top_k"), Error);
    CHECK_THROWS_WITH_AS(set_config(config, "stepss", "1", "--stepss"), doctest::Contains("train.steps"),
                         Error);
    for (const auto& [key, value] :
         std::vector<std::pair<std::string, std::string>>{{"optim.lr", "nan"},
                                                          {"optim.lr", "fast"},
                                                          {"train.steps", "-1"},
                                                          {"train.steps", "1.5"},
                                                          {"adapter.method", "lore"},
                                                          {"data.bos", "maybe"},
                                                          {"router.aux_coef", "0.1,x"}}) {
        CAPTURE(key);
        CHECK_THROWS_AS(set_config(config, key, value, "test"), Error);
    }
}

TEST_CASE("run config: z_coef and aux reach the adapter, aux none means none") {
    const ModelConfig mixtral = test::small_config(ModelFamily::mixtral);
    RunConfig config;
    set_config(config, "router.z_coef", "0.001", "test");
    CHECK(config.adapter_for(mixtral).penalties().z);
    set_config(config, "adapter.method", "adamoe", "test");
    CHECK(config.adapter_for(mixtral).penalties().balance == BalanceLoss::adamoe_eq6);
    CHECK(config.balance_coefficient().at(0) == 0.02);
    CHECK(config.balance_coefficient().at(7) == 0.0001);
    set_config(config, "router.aux", "none", "test");
    CHECK(config.adapter_for(mixtral).penalties().balance == BalanceLoss::none);
    CHECK(config.balance_coefficient().at(0) == 0);
}

TEST_CASE("run config: a setting that the method or the model does not read is refused") {
    const ModelConfig mixtral = test::small_config(ModelFamily::mixtral);
    for (const auto& [key, value] :
         std::vector<std::pair<std::string, std::string>>{{"router.null_experts", "4"},
                                                          {"router.null_map", "identity"},
                                                          {"router.mixture", "B"},
                                                          {"router.routers", "3"},
                                                          {"router.experts", "7"}}) {
        RunConfig config;
        set_config(config, key, value, "test");
        CAPTURE(key);
        CHECK_THROWS_WITH_AS(config.adapter_for(mixtral), doctest::Contains(key.c_str()), Error);
    }
    CHECK(RunConfig().adapter_for(mixtral).targets == std::vector<std::string>{"attention", "experts"});
    CHECK(RunConfig().adapter_for(test::small_config(ModelFamily::llama)).targets ==
          std::vector<std::string>{"attention", "mlp"});
}
