// Mixture of Routers over null experts: section 3's matrices with the last column as a null, AdaMoE's router as the case of
// one sub-router, AdaMoE's identity at the start on a Mixtral, gradients, files and configurations.

#include <moegrad/testing/router_conformance.hpp>
#include "support/routing_models.hpp"

#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/run_config_keys.hpp>

#include <doctest/doctest.h>

#include "io/support.hpp"

using namespace moegrad;

namespace {

/// W_0, W_1 and W_m of methods.md 3; columns 0 and 1 true, column 2 null.
AnyRouter<double> mixture_with_null(SlotWeights weights, NullMap map) {
    MixtureRouter<double> router{.sub = {}, .main = {}, .k = 2, .weights = weights, .null_map = map};
    router.sub.push_back(test::gate_of(Tensor<double>::from({2, 2}, {1, 0, 0, 1})));
    router.sub.push_back(test::gate_of(Tensor<double>::from({2, 2}, {-0.5, 1, 1, -1})));
    router.sub_nulls.push_back(test::gate_of(Tensor<double>::from({1, 2}, {-1, 0.5})));
    router.sub_nulls.push_back(test::gate_of(Tensor<double>::from({1, 2}, {0, 0.5})));
    router.main = test::parameter_of(Tensor<double>::from({2, 2}, {0.5, -0.5, 0, 1}), "main");
    router.check();
    return router;
}

Tensor<double> three_tokens() {
    return Tensor<double>::from({3, 2}, {1, -1, 0.5, 2, -2, 0});
}

bool mixture_near(const Tensor<double>& got, const std::vector<double>& want) {
    return test::largest_difference(got, Tensor<double>::from(got.shape(), want)) <= 1e-12;
}

AdapterSpec mixture_spec(Index nulls, Index k) {
    AdapterSpec spec{.method = Method::mor,
                     .lora = {.rank = 2, .alpha = 4},
                     .targets = {"attention", "experts"},
                     .seed = 9};
    spec.null_experts = nulls;
    spec.top_k = k;
    return spec;
}

}  // namespace

TEST_CASE(
    "MoR over nulls golden: choices, weights and gradients from torch; x0 and x1 are the published ones") {
    const auto batch = test::batch_of(three_tokens());
    auto over_true = mixture_with_null(SlotWeights::over_true, NullMap::zero);
    const auto outcome = test::decide(over_true, batch);
    const std::vector<std::int32_t> experts{0, 1, 0, kNull, 0, kNull};
    CHECK(std::equal(experts.begin(), experts.end(), outcome.expert.values().begin()));
    CHECK(mixture_near(outcome.weight, {0.779909069478418, 0.220090930521582, 1, 0, 1, 0}));
    const auto dx =
        test::task_gradient(over_true, batch, Tensor<double>::from({3, 2}, {1, -2, 0.5, 0.3, -0.7, 0.9}));
    CHECK(mixture_near(dx, {0.410901372507193, -0.636107229870524, 0, 0, 0, 0}));
    auto over_all = mixture_with_null(SlotWeights::over_all, NullMap::identity);
    const auto passing = test::decide(over_all, batch);
    CHECK(mixture_near(passing.weight,
                       {0.779909069478418, 0.220090930521582, 0.675623181886137, 0, 0.551506414944718, 0}));
    CHECK(mixture_near(passing.passthrough, {0, 0.324376818113863, 0.448493585055282}));
    CHECK_THROWS_AS(mixture_with_null(SlotWeights::over_true, NullMap::identity), Error);
}

TEST_CASE("MoR over nulls: one sub-router is the null-expert router") {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        const RouterSize size{.features = 5, .experts = 3, .nulls = 2, .slots = 3};
        const auto gate = detail::random_gate<double>("gate", 3, size, GateTraining::full, seed, 0),
                   gate2 = detail::random_gate<double>("gate2", 2, size, GateTraining::full, seed, 8);
        MixtureRouter<double> one{.sub = {gate}, .sub_nulls = {gate2}, .main = {}, .k = 3};
        one.main = test::parameter_of(test::random_batch<double>(5, {1}, seed).x);
        AnyRouter<double> mixture = std::move(one),
                          plain = NullExpertRouter<double>{.gate = gate, .gate2 = gate2, .k = 3};
        const auto batch = test::random_batch<double>(5, {9}, seed);
        const auto a = test::decide(plain, batch), b = test::decide(mixture, batch);
        CHECK(test::same_values(a.expert, b.expert));
        CHECK(test::largest_difference(a.weight, b.weight) <= 1e-14);
    }
}

TEST_CASE("MoR over nulls: a Mixtral starts as it was for j + 2 <= k <= 2 j + 2, j = M / E") {
    const auto batch = test::random_tokens({20, 9}, 40, 3);
    auto base = test::tiny_mixtral<double>(4);
    const auto want = test::model_logits(base, batch);
    for (const auto& [nulls, k] : {std::pair<Index, Index>{4, 3}, {4, 4}, {8, 4}, {8, 6}}) {
        auto model = test::tiny_mixtral<double>(4);
        attach(model, mixture_spec(nulls, k));
        CHECK(test::largest_difference(test::model_logits(model, batch), want) <= 1e-12);
    }
}

TEST_CASE("MoR over nulls: gradients on a Mixtral against central differences") {
    for (GateMode gate : {GateMode::frozen, GateMode::full}) {
        auto model = test::tiny_mixtral<double>(4);
        auto spec = mixture_spec(4, 3);
        spec.gate = gate;
        spec.null_weights = gate == GateMode::full ? NullWeights::over_all : NullWeights::over_true;
        spec.null_map = gate == GateMode::full ? NullMap::identity : NullMap::zero;
        spec.balance = BalanceLoss::adamoe_eq6;
        attach(model, spec);
        test::disturb(model, 0.1, 6);
        CHECK(test::Objective(model, test::random_tokens({9, 4}, 40, 7), 0.3).worst(7) <= 1);
    }
}

TEST_CASE("MoR over nulls: saved and loaded, the same logits") {
    const auto batch = test::random_tokens({12, 7}, 40, 3);
    for (GateMode gate : {GateMode::frozen, GateMode::full}) {
        auto spec = mixture_spec(8, 4);
        spec.gate = gate;
        auto model = test::tiny_mixtral<float>(4), fresh = test::tiny_mixtral<float>(4);
        attach(model, spec);
        Random random(6);
        for (auto* parameter : trainable_parameters(model)) {
            for (float& value : parameter->value().values())
                value += static_cast<float>(0.1 * random.next_normal());
        }
        const io_test::TemporaryFolder folder;
        save_adapter(model, spec, folder.file("adapter"));
        CHECK(load_adapter(fresh, folder.file("adapter")).null_experts == 8);
        CHECK(test::same_values(test::model_logits(fresh, batch), test::model_logits(model, batch)));
    }
    auto dense = test::tiny_llama<double>();
    auto identity = mixture_spec(3, 2);
    identity.targets = {"all"};
    identity.null_weights = NullWeights::over_all;
    identity.null_map = NullMap::identity;
    CHECK_THROWS_WITH_AS(attach(dense, identity), doctest::Contains("Mo-LoRA"), Error);
}

TEST_CASE(
    "MoR over nulls: the configuration reads its nulls, and refuses how they weigh when there are none") {
    const auto with = [](std::initializer_list<std::pair<const char*, const char*>> settings) {
        RunConfig config;
        set_config(config, "adapter.method", "mor", "test");
        for (const auto& [key, value] : settings) set_config(config, key, value, "test");
        return config;
    };
    const ModelConfig mixtral = test::tiny_mixtral<double>(4).config();
    const auto spec =
        with({{"router.null_experts", "8"}, {"router.null_weights", "all"}}).adapter_for(mixtral);
    CHECK(spec.null_experts == 8);
    CHECK(spec.null_weights == NullWeights::over_all);
    CHECK_THROWS_WITH_AS(with({{"router.null_weights", "all"}}).adapter_for(mixtral),
                         doctest::Contains("router.null_experts"), Error);
}
