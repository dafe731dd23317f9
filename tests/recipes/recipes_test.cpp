// The recipes of published set-ups: every one is read in full, fits a small model of its family, and says what it must.

#include <doctest/doctest.h>

#include "recipes/support.hpp"

#ifdef MOEGRAD_HAVE_TOML

namespace moegrad::recipe_test {

TEST_CASE("recipes: every one is read, fits its family and trains something") {
    const auto names = train_recipes();
    for (const std::string& name : names) {
        CAPTURE(name);
        const RunConfig config = recipe(name);
        const ModelConfig family = family_of(name);
        const auto model = test::small_model<float>(family);
        const AdapterSpec spec = config.adapter_for(family);
        CHECK_NOTHROW(attach(*model, spec));
        CHECK_FALSE(trainable_parameters(*model).empty());
        CHECK(config.output == "runs/" + name.substr(0, name.size() - 5));
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

}  // namespace moegrad::recipe_test

#endif
