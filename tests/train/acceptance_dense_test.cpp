// LoRAMoE, method "dense": acceptance items of methods.md 7 and 24.1, and its parameter count in methods.md 5. Its golden
// values and padding: tests/routing/dense_router_test.cpp.

#include <moegrad/methods/builtin_routers.hpp>

#include "support/routing_models.hpp"

#include <moegrad/data/dataset.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/trainer.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec lora_moe_spec(const std::string& options = "", Index r = 4) {
    AdapterSpec spec;
    spec.set_method("dense");
    spec.options = options;
    spec.targets = {"mlp"};
    spec.experts = 6;
    spec.lora = {.rank = r, .alpha = 32};
    spec.seed = 9;
    return spec;
}

Dataset lora_moe_data(bool with_types) {
    Dataset data;
    for (std::int32_t n = 0; n < 4; ++n) {
        const auto sample = test::random_tokens({12}, 40, static_cast<std::uint64_t>(n));
        data.push_back(language_sample({sample.token.values().begin(), sample.token.values().end()}));
        if (with_types) data.back().task = n % 2;
    }
    return data;
}

StepReport lora_moe_step(const std::string& options, bool with_types) {
    auto model = test::tiny_llama<double>();
    attach(model, lora_moe_spec(options));
    Context context({.device = Device::cpu, .threads = 1});
    Trainer<double> trainer(context, model, {"local"}, {});
    const std::vector<std::int32_t> picks{0, 1, 2, 3};
    return trainer.step(lora_moe_data(with_types), picks, 1e-3, {{"local", 0.1}});
}

}  // namespace

TEST_CASE("loramoe acceptance: the start is the base, to the bit") {
    const auto batch = test::random_tokens({12, 7}, 40, 3);
    for (const char* options : {"", "temperature=2", "lbc=cv2", "lbc=paper, delta=0.2"}) {
        CAPTURE(options);
        auto base = test::tiny_llama<double>(), tuned = test::tiny_llama<double>();
        attach(tuned, lora_moe_spec(options));
        const auto want = test::model_logits(base, batch);
        CHECK(test::same_values(test::model_logits(tuned, batch), want));
        test::disturb(tuned, 0.1, 1);
        CHECK(test::largest_difference(test::model_logits(tuned, batch), want) > 1e-3);
    }
}

TEST_CASE("loramoe acceptance: the localized balancing is off when no types are given") {
    CHECK(lora_moe_step("", false).penalties.empty());
    CHECK(lora_moe_step("", true).penalties.empty());  // nobody asked
    const auto typed = lora_moe_step("lbc=cv2", true);
    CHECK(typed.penalties.at("local") > 0);
    CHECK(typed.cross_entropy == lora_moe_step("", false).cross_entropy);
    // The released code trains on without the term when a caller passes no types. Here nothing but router.options turns it
    // on, so data without types contradict the configuration, and a loss that was asked for is never left out in silence.
    CHECK_THROWS_WITH_AS(lora_moe_step("lbc=cv2", false), doctest::Contains("a task for every sample"),
                         Error);
    // Inference needs no types.
    auto model = test::tiny_llama<double>();
    attach(model, lora_moe_spec("lbc=cv2"));
    CHECK_NOTHROW(test::model_logits(model, test::random_tokens({9}, 40, 3)));
}

TEST_CASE("loramoe golden: r = 24, six experts on Llama-2-7B's feed-forward are 208.8 M (methods.md 5)") {
    const Planning planning;
    Llama<float> model(test::llama_2_7b_layers());
    attach(model, lora_moe_spec("", 24));
    Index lora = 0, routers = 0;
    for (auto* parameter : trainable_parameters(model)) {
        const bool is_router = parameter->name().find(".router.") != std::string::npos;
        (is_router ? routers : lora) += parameter->size();
    }
    // The reference counts it, as MoLA, without routers: 32 layers, 3 Linears, 6 rows of 4096, 4096 and 11008 each.
    CHECK(std::round(static_cast<double>(lora) / 1e5) / 10 == 208.8);
    CHECK(lora == 32 * 3 * 6 * 24 * (4096 + 11008));
    CHECK(routers == 32 * 6 * (4096 + 4096 + 11008));
}
