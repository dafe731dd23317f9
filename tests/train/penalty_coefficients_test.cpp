// What the penalties of a run are multiplied with: the routers' coefficients, the configuration's, and where they contradict.

#include <doctest/doctest.h>

#include <moegrad/methods/all.hpp>
#include <moegrad/methods/builtin_routers.hpp>
#include <moegrad/train/penalty_coefficients.hpp>
#include <moegrad/train/penalty_scales.hpp>
#include <moegrad/train/run_config_keys.hpp>

#include "support/model_small.hpp"

using namespace moegrad;

namespace {

using Keys = std::vector<std::pair<std::string, std::string>>;

RunConfig penalty_config(const Keys& keys) {
    RunConfig config;
    for (const auto& [key, value] : keys) set_config(config, key, value, "test");
    return config;
}

/// Of a Mixtral's first epoch.
std::map<std::string, double> penalties_at_start(const RunConfig& config) {
    const ModelConfig family = test::small_config(ModelFamily::mixtral);
    const auto model = test::small_model<float>(family);
    attach(*model, config.adapter_for(family));
    return PenaltyCoefficients(config, *model).at(0);
}

/// What the two routers of perft_r, the layer's and its own, have for "balance".
Keys perft_with(const std::string& router) {
    return {{"adapter.method", "perft_r"}, {"router.options", "router=" + router}};
}

}  // namespace

TEST_CASE("penalty coefficients: routers that want two of a name are named with both") {
    CHECK(penalties_at_start(penalty_config(perft_with("top_k"))).at("balance") == 0.02);
    RunConfig config = penalty_config(perft_with("dyn_mole"));  // balance 0.001
    CHECK_THROWS_WITH_AS(penalties_at_start(config), doctest::Contains("0.001 of model.layers.0.mlp.perft"),
                         Error);
    CHECK_THROWS_WITH_AS(penalties_at_start(config), doctest::Contains("0.02 of model.layers.0.mlp"), Error);
    config.coefficients = "balance=0.005";
    const auto said = penalties_at_start(config);
    CHECK(said.at("balance") == 0.005);
    CHECK(said.at("entropy") == 0.01);
    config.coefficients.clear();
    config.aux_coefficient = {0.3};
    CHECK(penalties_at_start(config).at("balance") == 0.3);
}

TEST_CASE("penalty coefficients: balance is in one of router.aux_coef and router.coefs") {
    RunConfig config = penalty_config({{"adapter.method", "switch"}, {"router.coefs", "balance=0.5"}});
    CHECK(penalties_at_start(config).at("balance") == 0.5);
    for (const auto& [key, value] : Keys{{"router.aux_coef", "0.1"}, {"router.aux", "switch"}}) {
        CAPTURE(key);
        RunConfig both = config;
        set_config(both, key, value, "test");
        CHECK_THROWS_WITH_AS(penalties_at_start(both),
                             doctest::Contains("one of router.aux_coef and router.coefs"), Error);
    }
}

TEST_CASE("penalty coefficients: what a run writes into config.toml reads back to the same") {
    for (const Keys& keys : {Keys{{"adapter.method", "switch"}},
                             Keys{{"adapter.method", "switch"}, {"router.coefs", "balance=0.5"}},
                             Keys{{"adapter.method", "switch"}, {"router.aux_coef", "0.5"}},
                             Keys{{"adapter.method", "adamoe"}}, perft_with("top_k")}) {
        const RunConfig config = penalty_config(keys);
        RunConfig read;
        for (const ConfigField& field : config_fields()) field.set(read, field.get(config));
        CHECK(penalties_at_start(read) == penalties_at_start(config));
    }
}

TEST_CASE("penalty scales: a name has one unit") {
    StepScalars scalars;
    PenaltyScales scales({"balance"});
    Context context({.device = Device::cpu, .threads = 1});
    Tape tape(context, Mode::inference);
    const auto token = Tensor<std::int32_t>::from({1}, std::vector<std::int32_t>{0});
    const Segments segments = Segments::of_lengths({1});
    Forward<float> forward{tape, token, segments};
    const auto add = [&](const char* name, PenaltyUnit unit) {
        Routing<float> routing;
        routing.penalties.push_back({"balance", {}, unit});
        forward.routings.push_back({name, 0, std::move(routing)});
    };
    add("model.layers.0.mlp", PenaltyUnit::sequence);
    add("model.layers.1.mlp", PenaltyUnit::sequence);
    CHECK_NOTHROW(scales.learn(forward, scalars));
    add("model.layers.1.mlp.perft", PenaltyUnit::batch);
    CHECK_THROWS_WITH_AS(scales.learn(forward, scalars), doctest::Contains("per sequence"), Error);
    CHECK_THROWS_WITH_AS(scales.learn(forward, scalars), doctest::Contains("per micro-batch"), Error);
}
