#include <moegrad/train/parameter_groups.hpp>
#include <moegrad/train/trainer.hpp>

#include <doctest/doctest.h>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;

namespace {

std::unique_ptr<Decoder<double>> grouped_model(Method method) {
    auto model = test::small_model<double>(test::small_config(ModelFamily::mixtral));
    AdapterSpec spec;
    spec.method = method;
    spec.lora = {.rank = 2, .alpha = 4};
    spec.gate = method == Method::lora ? GateMode::full : GateMode::by_method;
    attach(*model, spec);
    return model;
}

std::vector<std::string> names_of(const std::vector<Parameter<double>*>& parameters) {
    std::vector<std::string> names;
    for (const auto* one : parameters) names.push_back(one->name());
    return names;
}

}  // namespace

TEST_CASE("parameter groups: which name belongs to which group") {
    const std::vector<std::pair<std::string, std::string>> table{
        {"model.layers.0.self_attn.q_proj.lora_A.weight", "attention lora_A"},
        {"model.layers.0.self_attn.q_proj.router.gate.weight", "router"},
        {"model.layers.0.self_attn.q_proj.router.sub.1.lora_B.weight", "router lora_B"},
        {"model.layers.3.mlp.gate.weight", "router"},
        {"model.layers.3.mlp.gate2.lora_B.weight", "router lora_B"},
        {"model.layers.3.mlp.experts.base_layer.lora_A.weight", "experts lora_A"},
        {"model.layers.3.mlp.gate_proj.lora_B.weight", "mlp lora_B"},
        {"model.layers.3.mlp.gate_proj.lora_magnitude_vector", "mlp lora_B"},
        {"model.layers.3.self_attn.q_proj.router.bias", "router"},
        {"model.layers.3.self_attn.k_proj.ia3_l", "attention"},
        {"model.embed_tokens.weight", "embed"},
        {"model.norm.weight", "norm"},
        {"model.layers.0.post_attention_layernorm.weight", "norm"},
        {"lm_head.weight", "head"}};
    for (const auto& [name, groups] : table) {
        std::string found;
        for (const auto& group : parameter_group_names())
            if (in_parameter_group(group, name)) found += (found.empty() ? "" : " ") + group;
        std::string sorted = groups;  // the order of parameter_group_names
        CHECK_MESSAGE(found == sorted, name);
    }
    CHECK(in_parameter_group("layers.3.", "model.layers.3.mlp.gate.weight"));
    CHECK_FALSE(in_parameter_group("layers.3.", "model.layers.13.mlp.gate.weight"));
}

TEST_CASE("parameter groups: LoRA+ gives B and DoRA's magnitude its rate, routers and A the base's") {
    const auto groups = ParameterGroups::parse("lora_B=16");
    const std::string q = "model.layers.0.self_attn.q_proj.";
    CHECK(groups.ratio(q + "lora_B.weight") == 16);
    CHECK(groups.ratio(q + "experts.2.lora_B.weight") == 16);
    CHECK(groups.ratio(q + "lora_magnitude_vector") == 16);
    CHECK(groups.ratio(q + "lora_A.weight") == 1);
    CHECK(groups.ratio(q + "router.gate.weight") == 1);
    CHECK(groups.ratio("model.layers.0.mlp.router.bias") == 1);
    CHECK(groups.ratio("model.layers.0.mlp.gate.weight") == 1);
}

TEST_CASE("parameter groups: factors multiply, a text that says nothing changes nothing") {
    const auto groups = ParameterGroups::parse(" router=0.1, lora_B = 16");
    CHECK(groups.ratio("model.layers.0.mlp.gate2.lora_B.weight") == doctest::Approx(1.6));
    CHECK(groups.ratio("model.layers.0.mlp.gate2.lora_A.weight") == 0.1);
    CHECK(groups.ratio("model.layers.0.self_attn.q_proj.lora_B.weight") == 16);
    CHECK(groups.ratio("model.layers.0.self_attn.q_proj.lora_A.weight") == 1);
    CHECK(ParameterGroups::parse("").empty());
    CHECK(ParameterGroups::parse("").ratio("anything") == 1);
}

TEST_CASE("parameter groups: what cannot be read or matches nothing is refused by name") {
    using io_test::expect_error;
    for (const char* text : {"router", "router=", "=2", "router=0", "router=-1", "router=nan", "router=2x",
                             "router=1,,lora_B=2", "router=1,router=2"}) {
        CAPTURE(text);
        expect_error(ErrorCode::config, "optim.rates", [&] { ParameterGroups::parse(text); });
    }
    const auto model = grouped_model(Method::lora);
    const auto names = names_of(trainable_parameters(*model));
    expect_error(ErrorCode::config, "optim.rates: \"mlp\"",
                 [&] { ParameterGroups::parse("mlp=2").ratios(names); });
    expect_error(ErrorCode::config,
                 "groups with trainable parameters: router, attention, experts, lora_A, lora_B",
                 [&] { ParameterGroups::parse("lora_B=2, lora_C=2").ratios(names); });
    CHECK(ParameterGroups::parse("lora_B=2").ratios(names).size() == names.size());
}

TEST_CASE("parameter groups: lora_B=16 is LoRA+, B learns at 16 times the rate of A") {
    // From one state, one step with the factor and one without: A moves alike, B by 16 times as much.
    const auto data = test::ragged_samples(8, 48);
    const std::vector<std::int32_t> picks{0, 1, 2, 3};
    const auto moved = [&](const std::string& rates) {
        auto model = grouped_model(Method::adamoe);
        Context context({.threads = 1});
        Trainer<double> trainer(context, *model, {"balance"}, {.clip = 0, .micro_batch = 4});
        trainer.step(data, picks, 1e-3);  // B leaves zero
        const auto before = test::values_of(trainer.parameters());
        trainer.set_rate_ratios(ParameterGroups::parse(rates).ratios(names_of(trainer.parameters())));
        trainer.step(data, picks, 1e-4);
        auto after = test::values_of(trainer.parameters());
        for (std::size_t i = 0; i < after.size(); ++i) after[i] -= before[i];
        return after;
    };
    const auto plain = moved(""), plus = moved("lora_B=16");
    const auto model = grouped_model(Method::adamoe);
    std::size_t at = 0, of_a = 0, of_b = 0;
    for (const auto* parameter : trainable_parameters(*model)) {
        const bool b = parameter->name().find("lora_B") != std::string::npos;
        int wrong = 0;
        for (Index i = 0; i < parameter->size(); ++i, ++at) {
            if (plain[at] == 0) continue;
            ++(b ? of_b : of_a);
            const double want = b ? 16 * plain[at] : plain[at];
            wrong += std::abs(plus[at] - want) > 1e-9 * std::abs(want) + 1e-17 ? 1 : 0;
        }
        CHECK_MESSAGE(wrong == 0, parameter->name());
    }
    CHECK(at == plain.size());
    CHECK(of_a > 500);
    CHECK(of_b > 500);
}
