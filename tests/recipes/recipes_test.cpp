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

TEST_CASE("recipes: the help of adapter.method names every method of the program") {
    for (const ConfigField& field : config_fields()) {
        if (std::string(field.key) != "adapter.method") continue;
        const std::string help = std::string(field.help) + ",";
        for (const std::string& name : method_names()) CHECK(help.find(" " + name + ",") != help.npos);
    }
}

namespace {

/// What attaching says to settings, or "".
std::string refused(ModelFamily family, const std::vector<std::pair<std::string, std::string>>& settings) {
    RunConfig config;
    for (const auto& [key, value] : settings) set_config(config, key, value, "test");
    const auto model = test::small_model<float>(test::small_config(family));
    try {
        attach(*model, config.adapter_for(model->config()));
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("recipes: router.top_k is refused by methods that do without it") {
    const auto with = [](ModelFamily family, const char* method, const char* options = "") {
        return refused(family,
                       {{"adapter.method", method}, {"router.options", options}, {"router.top_k", "2"}});
    };
    const auto mixtral = ModelFamily::mixtral, llama = ModelFamily::llama;
    for (const char* method : {"hash", "switch", "base", "top_p", "dyn_mole", "dense", "expert_choice"}) {
        CAPTURE(method);
        CHECK(with(mixtral, method).find("router.top_k") != std::string::npos);
        CHECK(refused(mixtral, {{"adapter.method", method}}) == "");
    }
    CHECK(with(mixtral, "task", "tasks=2").find("every expert") != std::string::npos);
    CHECK(with(mixtral, "hash").find("per_token") != std::string::npos);
    CHECK(with(mixtral, "expert_choice", "eval=top_k") == "");
    for (const char* method : {"bias", "gshard", "lora", "perft_r"}) CHECK(with(mixtral, method) == "");
    for (const char* method : {"lora", "dora", "perft_r"}) {
        CAPTURE(method);
        CHECK(with(llama, method).find("router.top_k") != std::string::npos);
    }
    for (const char* method : {"mixlora", "factor_llm", "molora", "gshard"}) {
        CAPTURE(method);
        const char* target = std::string(method) == "mixlora" ? "attention" : "q_proj";
        CHECK(refused(llama,
                      {{"adapter.method", method}, {"adapter.target", target}, {"router.top_k", "2"}}) == "");
    }
    CHECK(with(llama, "mixlora", "router=switch").find("one expert") != std::string::npos);
}

TEST_CASE("recipes: a rank is refused where there is no LoRA") {
    using Settings = std::vector<std::pair<std::string, std::string>>;
    const auto with = [](ModelFamily family, const char* method, Settings settings) {
        settings.insert(settings.begin(), {"adapter.method", method});
        settings.emplace_back("adapter.lora_dropout", "0.1");
        return refused(family, settings).find("adapter.lora_dropout") != std::string::npos;
    };
    for (const char* method : {"ia3", "mov", "factor_llm"}) CHECK(with(ModelFamily::llama, method, {}));
    const std::pair<std::string, std::string> picked{"router.options", "picked=0-1/0-1"};
    CHECK(with(ModelFamily::mixtral, "router_tuning", {}));
    CHECK_FALSE(with(ModelFamily::mixtral, "router_tuning", {{"router.mode", "lora"}}));
    CHECK(with(ModelFamily::mixtral, "ceft", {picked}));
    CHECK_FALSE(with(ModelFamily::mixtral, "ceft", {{"router.options", picked.second + ", lora=true"}}));
    CHECK_FALSE(with(ModelFamily::mixtral, "ceft", {picked, {"adapter.target", "attention"}}));
    CHECK_FALSE(with(ModelFamily::mixtral, "lora", {}));
}

TEST_CASE("recipes: an option without effect is refused") {
    const std::vector<std::tuple<ModelFamily, const char*, const char*, const char*>> settings{
        {ModelFamily::mixtral, "dense", "delta=0.2", "`delta`"},
        {ModelFamily::mixtral, "dense", "types=3", "`types`"},
        {ModelFamily::mixtral, "bias", "nulls=8, normalise=false, null_weights=all", "`null_weights`"},
        {ModelFamily::mixtral, "gshard", "policy=all, threshold=0.1", "`threshold`"},
        {ModelFamily::mixtral, "gshard", "policy=none, threshold=0.1", "`threshold`"},
        {ModelFamily::mixtral, "gw_moe", "match_mass=true", "weights=raw"},
        {ModelFamily::mixtral, "perft_r", "router=switch, renormalise=false", "`renormalise`"},
        {ModelFamily::llama, "perft_d", "base_balance=false", "`base_balance`"},
        {ModelFamily::llama, "mixlora", "router=switch, top_k=1", "`top_k`"}};
    for (const auto& [family, method, options, named] : settings) {
        CAPTURE(options);
        CHECK(refused(family, {{"adapter.method", method}, {"router.options", options}}).find(named) !=
              std::string::npos);
    }
    for (const char* options : {"experts=4, router=hash, per_token=2", "experts=4, router=top_p, p=0.8"})
        CHECK(refused(ModelFamily::llama, {{"adapter.method", "mixlora"}, {"router.options", options}}) ==
              "");
    CHECK(refused(ModelFamily::mixtral, {{"adapter.method", "perft_r"},
                                         {"router.options", "experts=4, router=hash, per_token=2"}}) == "");
}

}  // namespace moegrad::recipe_test

#endif
