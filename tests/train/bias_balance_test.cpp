// Bias balancing and pooled balance losses in whole steps: one update of the bias per step however it is cut or recomputed,
// checkpoints, adapters, recorded steps on a GPU, and what configurations may ask for.

#include <doctest/doctest.h>

#include <moegrad/routing/bias_router.hpp>
#include <moegrad/train/checkpoint.hpp>
#include <moegrad/train/memory_plan.hpp>
#include <moegrad/train/run_config_keys.hpp>

#include "io/support.hpp"
#include "support/device_bench.hpp"

// Tests of training are one translation unit: the names below are this file's.
namespace moegrad::bias_balance_test {

using namespace moegrad::test;
using io_test::TemporaryFolder;

namespace {

const RegisterRouter<BiasRouter> bias_registered{"bias"};

AdapterSpec bias_spec(const std::string& options = "rate=0.01") {
    AdapterSpec spec;
    spec.set_method("bias");
    spec.options = options;
    spec.lora = {.rank = 2, .alpha = 4};
    spec.balance = BalanceLoss::seq;
    spec.seed = 4;
    return spec;
}

/// b of every router, in the order of the layers.
template <class Real>
std::vector<double> biases(Decoder<Real>& model) {
    std::vector<double> all;
    for (auto& [name, router] : model_routers(model)) {
        const auto state = router->state();
        all.insert(all.end(), state.begin(), state.end());
    }
    return all;
}

std::vector<double> biases_after(const DeviceWay& way, Index steps, const AdapterSpec& spec) {
    DeviceBench<float> bench(way, ModelFamily::mixtral, spec);
    for (Index n = 0; n < steps; ++n) bench.step(n);
    return biases(*bench.model);
}

/// The name of a run's only penalty and its value in step 0.
double first_balance(DeviceBench<float>& bench) {
    return bench.step(0).penalties.at("balance");
}

}  // namespace

TEST_CASE("bias: one update per optimiser step, however it is cut into micro-batches or recomputed") {
    const auto one = biases_after({.device = Device::cpu}, 1, bias_spec());
    const bool whole_steps = std::all_of(one.begin(), one.end(), [](double b) {
        return std::abs(b) <= 0.0200001;  // +-0.01, less their mean; a second update would double it
    });
    CHECK(whole_steps);
    CHECK(std::any_of(one.begin(), one.end(), [](double b) { return b != 0; }));
    const auto want = biases_after({.device = Device::cpu}, 4, bias_spec());
    for (Index micro_batch : {1, 3}) {
        for (auto activations : {Activations::kept, Activations::recomputed}) {
            const DeviceWay way{
                .device = Device::cpu, .micro_batch = micro_batch, .activations = activations};
            CHECK(biases_after(way, 4, bias_spec()) == want);
        }
    }
    double sum = 0;
    for (double b : want) sum += b;
    CHECK(std::abs(sum) < 1e-6);
}

TEST_CASE("bias: a checkpoint brings b back, an adapter carries it, evaluation leaves it") {
    const TemporaryFolder folder;
    const auto silence = [](const std::string&) {};
    DeviceBench<float> whole({.device = Device::cpu}, ModelFamily::mixtral, bias_spec());
    RunState state;
    for (; state.step < 3; ++state.step) whole.step(state.step);
    save_checkpoint(folder.path(), *whole.trainer, state, "identity", 2);
    const auto saved = biases(*whole.model);
    save_adapter(*whole.model, bias_spec(), folder.file("adapter"));
    whole.trainer->evaluate(whole.data);
    CHECK(biases(*whole.model) == saved);
    whole.step(3);
    CHECK(biases(*whole.model) != saved);

    DeviceBench<float> second({.device = Device::cpu}, ModelFamily::mixtral, bias_spec());
    REQUIRE(resume_checkpoint(folder.path(), *second.trainer, "identity", silence));
    CHECK(biases(*second.model) == saved);
    second.step(3);
    CHECK(biases(*second.model) == biases(*whole.model));
    CHECK(state_of(*second.trainer) == state_of(*whole.trainer));

    const auto fresh = small_model<float>(small_config(ModelFamily::mixtral));
    CHECK(load_adapter(*fresh, folder.file("adapter")).method_name() == "bias");
    CHECK(biases(*fresh) == saved);
}

TEST_CASE(
    "bias: steps on a GPU are recorded and see the b of the step before; the same bits without graphs") {
    if (without_cuda()) return;
    for (const char* options : {"rate=0.01", "nulls=4, load=1, rate=0.01"}) {
        DeviceBench<float> bench({}, ModelFamily::mixtral, bias_spec(options));
        for (Index n = 0; n < 6; ++n) bench.step(n);
        if (!bench.trainer->use().plain) CHECK(bench.trainer->use().graphs >= 2);
        CHECK(bench.trainer->depth() == 1);
        CHECK(biases(*bench.model) == biases_after({.graphs = false}, 6, bias_spec(options)));
    }
    // Near ties may fall differently, so only the first update is compared with the CPU's.
    CHECK(biases_after({}, 1, bias_spec()) == biases_after({.device = Device::cpu}, 1, bias_spec()));
}

TEST_CASE("bias: over LoRA experts of a Llama") {
    DeviceBench<float> bench({.device = Device::cpu}, ModelFamily::llama, bias_spec("rate=0.01, groups=2"));
    CHECK(biases(*bench.model).size() > 4);
    for (Index n = 0; n < 2; ++n) bench.step(n);
    const auto b = biases(*bench.model);
    CHECK(std::any_of(b.begin(), b.end(), [](double value) { return value != 0; }));
}

TEST_CASE("balance: hf_concat is one value over all layers, trains, and is the same on both devices") {
    AdapterSpec spec = device_adamoe();
    spec.balance = BalanceLoss::hf_concat;
    spec.lora.dropout = 0;
    DeviceBench<float> pooled({.device = Device::cpu}, ModelFamily::mixtral, spec);
    const double value = first_balance(pooled);
    // Eq 3 per micro-batch and layer: their mean bounds what pooling can cancel.
    AdapterSpec apart = spec;
    apart.balance = BalanceLoss::adamoe_eq3;
    apart.balance_scope = BalanceOptions::Scope::micro;
    DeviceBench<float> separate({.device = Device::cpu}, ModelFamily::mixtral, apart);
    const double sum = first_balance(separate);
    CHECK(value > 1);
    CHECK(value < sum);
    for (Index n = 1; n < 30; ++n) pooled.step(n);
    CHECK(pooled.step(30).penalties.at("balance") < value);
    if (has_cuda()) {
        DeviceBench<float> there({}, ModelFamily::mixtral, spec);
        CHECK(first_balance(there) == doctest::Approx(value).epsilon(1e-5));
        for (Index n = 1; n < 4; ++n) there.step(n);
    }
    DeviceBench<float> recomputed({.device = Device::cpu, .activations = Activations::recomputed},
                                  ModelFamily::mixtral, spec);
    CHECK_THROWS_WITH_AS(recomputed.step(0), doctest::Contains("several routers"), Error);
}

TEST_CASE("bias, hf_concat: the memory plan has every byte of a step") {
    AdapterSpec pooled = device_adamoe();
    pooled.balance = BalanceLoss::hf_concat;
    const MicroBatches cuts{{0, 3, 5}, {1, 2, 4, 6}};
    for (const AdapterSpec& spec : {bias_spec("nulls=4, load=1, groups=2"), pooled}) {
        const auto data = ragged_samples(8, 48);
        const auto build = [&] {
            auto model = small_model<float>(small_config(ModelFamily::mixtral));
            attach(*model, spec);
            return model;
        };
        const MemoryPlan plan = plan_memory<float>(build, data, cuts, {});
        const auto model = build();
        Context context({.threads = 2});
        Trainer<float> trainer(context, *model, {"balance", "z"}, {});
        for (int n = 0; n < 3; ++n) trainer.step(data, cuts, 1e-3);
        CHECK(plan.step == pages::round_up(context.arena().reach()));
    }
}

TEST_CASE("balance: adamoe_exp1 has one value for the seven routers of a layer") {
    AdapterSpec spec;
    spec.method = Method::adamoe;
    spec.lora = {.rank = 2, .alpha = 4};
    spec.null_experts = 5;
    spec.top_k = 4;
    spec.balance = BalanceLoss::adamoe_exp1;
    DeviceBench<float> bench({.device = Device::cpu}, ModelFamily::llama, spec);
    const double layers = static_cast<double>(bench.model->layers().size());
    const double value = first_balance(bench);
    CHECK(value / layers > 0.9);  // 1 in each layer where all is balanced
    CHECK(value / layers < 1.5);
}

TEST_CASE("balance: the configuration's names, and what it refuses") {
    const auto with = [](std::initializer_list<std::pair<const char*, const char*>> settings) {
        RunConfig config;
        for (const auto& [key, value] : settings) set_config(config, key, value, "test");
        return config;
    };
    const ModelConfig mixtral = small_config(ModelFamily::mixtral);
    for (const char* name : kBalanceLossNames) {
        const auto config = with({{"adapter.method", "adamoe"}, {"router.aux", name}});
        CHECK(std::string(kBalanceLossNames[static_cast<int>(config.adapter.balance)]) == name);
        CHECK(config.adapter_for(mixtral).balance == config.adapter.balance);
    }
    CHECK_THROWS_WITH_AS(with({{"router.aux", "global_batch"}}), doctest::Contains("whole step"), Error);
    const auto pooled =
        with({{"adapter.method", "adamoe"}, {"router.aux", "hf_concat"}, {"train.checkpointing", "true"}});
    CHECK_THROWS_WITH_AS(pooled.adapter_for(mixtral), doctest::Contains("train.checkpointing"), Error);
    const auto seq =
        with({{"adapter.method", "adamoe"}, {"router.aux", "seq"}, {"router.aux_scope", "micro"}});
    CHECK_THROWS_WITH_AS(seq.adapter_for(mixtral), doctest::Contains("per sequence"), Error);
}

}  // namespace moegrad::bias_balance_test
