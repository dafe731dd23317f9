#include <moegrad/train/gradient_watch.hpp>
#include <moegrad/train/trainable_table.hpp>
#include <moegrad/train/trainer.hpp>

#include <doctest/doctest.h>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;

namespace {

/// D = 16, F = 24, 4 heads and 2 of keys of width 4, 4 experts, 2 layers; rank 4.
std::unique_ptr<Decoder<float>> counted_model(ModelFamily family, AdapterSpec& spec) {
    auto model = test::small_model<float>(test::small_config(family));
    spec.lora = {.rank = 4, .alpha = 8};
    attach(*model, spec);
    return model;
}

const ProjectionCount& projection_named(const TrainableCount& count, std::size_t layer,
                                        const std::string& name) {
    for (const auto& one : count.layers.at(layer))
        if (one.name == name) return one;
    throw Error{ErrorCode::state, name, "a projection", "none"};
}

}  // namespace

TEST_CASE("trainable table: layer by layer and projection by projection, counted by hand") {
    AdapterSpec spec;
    spec.gate = GateMode::full;
    const auto model = counted_model(ModelFamily::mixtral, spec);
    const auto count = count_trainable(*model);
    REQUIRE(count.layers.size() == 2);
    for (std::size_t layer = 0; layer < 2; ++layer) {
        CHECK(projection_named(count, layer, "q_proj").values == 4 * 16 + 16 * 4);
        CHECK(projection_named(count, layer, "k_proj").values == 4 * 16 + 8 * 4);
        CHECK(projection_named(count, layer, "v_proj").values == 4 * 16 + 8 * 4);
        CHECK(projection_named(count, layer, "o_proj").values == 4 * 16 + 16 * 4);
        CHECK(projection_named(count, layer, "experts.gate_up").values == 4 * (4 * 16 + 48 * 4));
        CHECK(projection_named(count, layer, "experts.gate_up").experts == 4);
        CHECK(projection_named(count, layer, "experts.down").values == 4 * (4 * 24 + 16 * 4));
        CHECK(projection_named(count, layer, "router").values == 4 * 16);
    }
    CHECK(count.of_kind("attention") == 2 * 448);
    CHECK(count.of_kind("experts") == 2 * (1024 + 640));
    CHECK(count.of_kind("router") == 2 * 64);
    CHECK(count.trained == 2 * (448 + 1024 + 640 + 64));
    CHECK(attention_only_warning(count).empty());
    CHECK_NOTHROW(require_trainable(count, spec));
    const std::string text = trainable_table(*model);
    CAPTURE(text);
    CHECK(text.find("0-1") != std::string::npos);  // layers that are alike share a line
    CHECK(text.find("1024 (4 of 4)") != std::string::npos);
    CHECK(text.find("attention 896, experts 3328, router 128, in all 4352 beside") != std::string::npos);
}

TEST_CASE("trainable table: blocks that never train do not count, nor do experts without a value") {
    AdapterSpec spec;
    spec.targets = {"w1", "w2", "w3"};
    const auto model = counted_model(ModelFamily::mixtral, spec);
    auto count = count_trainable(*model);
    // A of rank 8 for w1 and w3 together, of B the two blocks that belong to one of them.
    CHECK(projection_named(count, 0, "experts.gate_up").values == 4 * (8 * 16 + 2 * 24 * 4));
    CHECK_NOTHROW(require_trainable(count, spec));
    auto& lora = model->layers()[1].moe[0].experts.down_lora;
    lora.A.set_trainable(false);
    lora.B.set_trainable(false);
    count = count_trainable(*model);
    CHECK(projection_named(count, 0, "experts.down").experts == 4);
    CHECK(projection_named(count, 1, "experts.down").experts == 0);
    CHECK(projection_named(count, 1, "experts.down").values == 0);
    const std::string text = trainable_table(count);
    CHECK(text.find("0-1") == std::string::npos);  // the layers differ
}

TEST_CASE("trainable table: a target that ends with nothing to train is an error that says what there is") {
    AdapterSpec spec;
    const auto model = counted_model(ModelFamily::mixtral, spec);
    for (auto& layer : model->layers()) {
        for (auto* lora : {&layer.moe[0].experts.gate_up_lora, &layer.moe[0].experts.down_lora}) {
            lora->A.set_trainable(false);
            lora->B.set_trainable(false);
        }
    }
    const auto count = count_trainable(*model);
    io_test::expect_error(ErrorCode::config, "adapter.target: \"experts\"",
                          [&] { require_trainable(count, spec); });
    io_test::expect_error(ErrorCode::config, "q_proj 128, k_proj 96",
                          [&] { require_trainable(count, spec); });
    CHECK(attention_only_warning(count).find("896 values") != std::string::npos);
}

TEST_CASE("trainable table: Mo-LoRA on a dense model has experts and a router per Linear") {
    AdapterSpec spec;
    spec.method = Method::molora;
    spec.experts = 3;
    spec.targets = {"q_proj", "mlp"};
    const auto model = counted_model(ModelFamily::llama, spec);
    const auto count = count_trainable(*model);
    CHECK(projection_named(count, 0, "q_proj").values == 3 * (4 * 16 + 16 * 4));
    CHECK(projection_named(count, 0, "q_proj").of_experts == 3);
    CHECK(projection_named(count, 0, "k_proj").values == 0);
    CHECK(projection_named(count, 1, "router").values == 3 * (16 + 16 + 16 + 24));  // gates [3, in]
    CHECK(attention_only_warning(count).empty());
    Index sum = 0;
    for (auto* p : trainable_parameters(*model)) sum += p->size();
    CHECK(count.trained == sum);
}

TEST_CASE("gradient watch: A waits for B, a parameter that the loss does not reach is named") {
    AdapterSpec spec;
    const auto model = counted_model(ModelFamily::mixtral, spec);
    Context context({.threads = 1});
    Parameter<float> stray("model.layers.0.mlp.stray.weight", Shape{2, 3});
    stray.set_trainable(true);
    stray.use();
    Trainer<float> trainer(context, *model, {}, {});
    auto watched = trainer.parameters();
    watched.push_back(&stray);
    const GradientWatch<float> watch(watched);
    const auto data = test::ragged_samples(8, 48);
    const std::vector<std::int32_t> picks{0, 1, 2, 3, 4, 5, 6, 7};
    trainer.step(data, picks, 1e-3);
    const auto first = watch.after_step(0);
    CHECK(first.whole == 1);  // no A among them although all of theirs are zero
    CHECK(first.names == " model.layers.0.mlp.stray.weight");
    CHECK(first.text(0).find("after step 1 the loss does not reach 1 trainable") == 0);
    trainer.step(data, picks, 1e-3);
    CHECK(watch.after_step(1).whole == 0);
    CHECK(watch.after_step(2).text(2).empty());
}

TEST_CASE(
    "gradient watch: an A that gets nothing after B has moved is named, experts without tokens are counted") {
    AdapterSpec spec;
    spec.targets = {"experts"};
    const auto model = counted_model(ModelFamily::mixtral, spec);
    Context context({.threads = 1});
    Trainer<float> trainer(context, *model, {}, {.micro_batch = 1});
    const GradientWatch<float> watch(trainer.parameters());
    Dataset data{
        language_sample({1, 1, 1})};  // one token: of 4 experts at most 2 are chosen in the first layer
    const std::vector<std::int32_t> picks{0};
    trainer.step(data, picks, 0);  // B stays zero
    const auto first = watch.after_step(0);
    CHECK(first.whole == 0);
    CHECK(first.stacks > 0);
    CHECK(first.in_stacks.find("model.layers.0.mlp.experts.base_layer.lora_B.weight (2 of 4)") !=
          std::string::npos);
    trainer.step(data, picks, 0);
    const auto second = watch.after_step(1);
    CHECK(second.whole == 4);
    CHECK(second.names.find("model.layers.1.mlp.experts.base_layer.lora_A.weight, ..") != std::string::npos);
}

TEST_CASE("gradient watch: routers of experts and sub-routers whose B is zero wait for it too") {
    for (const Method method : {Method::molora, Method::mor}) {
        AdapterSpec spec;
        spec.method = method;
        const bool dense = method == Method::molora;
        if (dense) spec.targets = {"q_proj", "mlp"};
        const auto model = counted_model(dense ? ModelFamily::llama : ModelFamily::mixtral, spec);
        Context context({.threads = 1});
        Trainer<float> trainer(context, *model, {}, {});
        Parameter<float> stray("model.layers.0.self_attn.k_proj.router.gate.weight", Shape{2, 3});
        stray.set_trainable(true);
        stray.use();
        auto watched = trainer.parameters();
        watched.push_back(&stray);
        const GradientWatch<float> watch(watched);
        const auto data = test::ragged_samples(8, 48);
        const std::vector<std::int32_t> picks{0, 1, 2, 3, 4, 5, 6, 7};
        trainer.step(data, picks, 1e-2);
        CHECK(watch.after_step(0).whole + watch.after_step(1).whole > 1);  // they have none yet
        const auto first = watch.after_step(0);
        CAPTURE(first.names);
        CHECK(first.whole == (dense ? 1 : 0));  // k_proj: nothing there starts at zero; with MoR it does
        trainer.step(data, picks, 1e-2);
        const auto second = watch.after_step(1);
        CAPTURE(second.names);
        CHECK(second.whole == (dense ? 0 : 1));
    }
}
