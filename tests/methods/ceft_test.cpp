// Router tuning and CEFT: what trains and nothing else, sizes, the picked experts in the place of the checkpoint's own.

#include "io/support.hpp"
#include "support/routing_models.hpp"

#include <moegrad/methods/ceft.hpp>
#include <moegrad/methods/router_tuning.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/trainable_table.hpp>
#include <moegrad/train/trainer.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

AdapterSpec ceft_spec(const std::string& options) {
    AdapterSpec spec;
    spec.set_method("ceft");
    spec.options = options;
    spec.targets.clear();
    spec.lora = {.rank = 2, .alpha = 8};
    spec.seed = 9;
    return spec;
}
AdapterSpec ceft_router_spec(GateMode gate) {
    AdapterSpec spec;
    spec.set_method("router_tuning");
    spec.targets.clear();
    spec.lora = {.rank = 8, .alpha = 32};
    spec.gate = gate;
    return spec;
}

/// The shape of OLMoE-1B-7B's blocks.
ModelConfig ceft_olmoe() {
    auto config = family_defaults(ModelFamily::mixtral);
    config.hidden_size = 2048;
    config.intermediate_size = 1024;
    config.num_hidden_layers = 16;
    config.num_attention_heads = config.num_key_value_heads = 16;
    config.head_dim = 128;
    config.vocab_size = 50304;
    config.num_local_experts = 64;
    config.num_experts_per_tok = 8;
    return config;
}
TrainableCount ceft_count(const AdapterSpec& spec) {
    const Planning planning;
    Mixtral<float> model(ceft_olmoe());
    attach(model, spec);
    return count_trainable(model);
}

Dataset ceft_data() {
    Dataset data;
    for (std::uint64_t n = 0; n < 4; ++n) {
        const auto sample = test::random_tokens({24}, 40, n);
        data.push_back(language_sample({sample.token.values().begin(), sample.token.values().end()}));
    }
    return data;
}
template <class Real>
void ceft_step(Decoder<Real>& model) {
    Context context({.device = Device::cpu, .threads = 1});
    Trainer<Real> trainer(context, model, {}, {});
    const std::vector<std::int32_t> picks{0, 1, 2, 3};
    trainer.step(ceft_data(), picks, 1e-2);
}

/// Every base parameter whose numbers are not those of `other`.
template <class Real>
std::vector<std::string> ceft_changed(Decoder<Real>& model, Decoder<Real>& other) {
    std::vector<std::string> names;
    const auto mine = model.base_parameters(), theirs = other.base_parameters();
    for (std::size_t i = 0; i < mine.size(); ++i) {
        if (!test::same_values(mine[i]->value(), theirs[i]->value())) names.push_back(mine[i]->name());
    }
    return names;
}

}  // namespace

TEST_CASE("router_tuning golden: trainable sizes of OLMoE-1B-7B") {
    CHECK(ceft_count(ceft_router_spec(GateMode::by_method)).trained == 2097152);
    CHECK(ceft_count(ceft_router_spec(GateMode::lora)).trained == 270336);
}

TEST_CASE("ceft golden: trainable sizes of OLMoE-1B-7B with 8 experts per layer") {
    std::string picked = "picked=";
    for (int l = 0; l < 16; ++l) picked += l == 0 ? "0-8-16-24-32-40-48-63" : "/1-2-3-4-5-6-7-8";
    CHECK(ceft_count(ceft_spec(picked)).trained == 805306368);
    auto lora = ceft_spec(picked + ",lora=true");
    lora.lora.rank = 8;
    CHECK(ceft_count(lora).trained == 9437184);
    std::string all;
    for (int e = 0; e < 64; ++e) all += (e == 0 ? "" : "-") + std::to_string(e);
    picked = "picked=" + all;
    for (int l = 1; l < 16; ++l) picked += "/" + all;
    CHECK(ceft_count(ceft_spec(picked)).trained == 6442450944);
}

TEST_CASE("router_tuning: after a step only the gates differ from the base") {
    for (const GateMode gate : {GateMode::by_method, GateMode::lora}) {
        auto base = test::tiny_mixtral<float>(), tuned = test::tiny_mixtral<float>();
        attach(tuned, ceft_router_spec(gate));
        const auto batch = test::random_tokens({12}, 40, 3);
        CHECK(test::same_values(test::model_logits(tuned, batch), test::model_logits(base, batch)));
        ceft_step(tuned);
        const std::vector<std::string> gates{"model.layers.0.mlp.gate.weight",
                                             "model.layers.1.mlp.gate.weight"};
        CHECK(ceft_changed<float>(tuned, base) ==
              (gate == GateMode::lora ? std::vector<std::string>{} : gates));
        CHECK(!test::same_values(test::model_logits(tuned, batch), test::model_logits(base, batch)));
    }
    auto frozen = test::tiny_mixtral<float>();
    CHECK_THROWS_WITH_AS(attach(frozen, ceft_router_spec(GateMode::frozen)),
                         doctest::Contains("nothing would train"), Error);
    auto dense = test::tiny_llama<float>();
    CHECK_THROWS_AS(attach(dense, ceft_router_spec(GateMode::by_method)), Error);
}

TEST_CASE(
    "ceft: after one step only the picked slabs differ from the base, bit for bit, and moments are their "
    "share") {
    auto base = test::tiny_mixtral<float>(), tuned = test::tiny_mixtral<float>();
    attach(tuned, ceft_spec("picked=0-5/2-3-7"));
    ceft_step(tuned);
    CHECK(ceft_changed<float>(tuned, base).empty());  // the checkpoint's stack is never written
    const std::vector<std::vector<Index>> picked{{0, 5}, {2, 3, 7}};
    std::size_t moments = 0, slabs = 0;
    for (std::size_t l = 0; l < 2; ++l) {
        auto& moe = tuned.layers()[l].moe.front();
        auto& set = dynamic_cast<PickedExperts<float>&>(*moe.beside.at(0));
        REQUIRE(set.experts.count() == std::ssize(picked[l]));
        for (Index i = 0; i < set.experts.count(); ++i) {
            const Index e = picked[l][static_cast<std::size_t>(i)];
            CHECK(!test::same_values(set.experts.gate_up.value().slice(i),
                                     moe.experts.gate_up.value().slice(e)));
            CHECK(!test::same_values(set.experts.down.value().slice(i), moe.experts.down.value().slice(e)));
            ++slabs;
        }
    }
    for (auto* p : trainable_parameters(tuned)) {
        moments +=
            static_cast<std::size_t>(p->first_moment().size() + p->second_moment().size()) * sizeof(float);
    }
    constexpr std::size_t kSlab = 3 * 12 * 16;  // 3 F D
    CHECK(slabs == 5);
    CHECK(moments == 2 * slabs * kSlab * sizeof(float));
}

TEST_CASE("ceft: at the start the base's function; what is picked runs and is replaced") {
    const auto batch = test::random_tokens({20, 9}, 40, 3);
    for (const char* options :
         {"picked=0-5/2-3", "picked=0-5/", "picked=0-1-2-3-4-5-6-7/7", "picked=1/6,lora=true"}) {
        CAPTURE(options);
        auto base = test::tiny_mixtral<double>(), tuned = test::tiny_mixtral<double>();
        attach(tuned, ceft_spec(options));
        const auto want = test::model_logits(base, batch);
        CHECK(test::largest_difference(test::model_logits(tuned, batch), want) <= 1e-12);
        // Nothing that the picked stacks hold comes from the checkpoint's any more.
        auto& moe = tuned.layers()[0].moe.front();
        auto& set = dynamic_cast<PickedExperts<double>&>(*moe.beside.at(0));
        const auto lists =
            expert_lists(std::string(options).substr(7, std::string(options).find(',') - 7), "", 8);
        for (const Index e : lists[0]) {
            for (double& value : moe.experts.down.value().slice(e).values()) value = 7;
        }
        CHECK(test::largest_difference(test::model_logits(tuned, batch), want) <= 1e-12);
        for (double& value : set.experts.down.value().values()) value = 0;
        CHECK(test::largest_difference(test::model_logits(tuned, batch), want) > 1e-2);
    }
}

TEST_CASE("ceft: gradients against central differences, in full and with LoRA") {
    for (const char* options : {"picked=0-5/2-3", "picked=1/6,lora=true"}) {
        auto model = test::tiny_mixtral<double>();
        attach(model, ceft_spec(options));
        test::disturb(model, 0.1, 6);
        CHECK(test::Objective(model, test::random_tokens({6, 3}, 40, 7), 0).worst(23) <= 1);
    }
}

TEST_CASE("ceft: saved and loaded with the picked experts alone, to the bit") {
    const auto batch = test::random_tokens({20, 9}, 40, 3);
    for (const auto& spec : {ceft_spec("picked=0-5/2-3-7"), ceft_spec("picked=1/6,lora=true"),
                             ceft_router_spec(GateMode::by_method), ceft_router_spec(GateMode::lora)}) {
        CAPTURE(spec.options);
        auto model = test::tiny_mixtral<float>(), again = test::tiny_mixtral<float>();
        attach(model, spec);
        ceft_step(model);
        const io_test::TemporaryFolder folder;
        save_adapter(model, spec, folder.path());
        for (const auto& tensor : adapter_tensors(model)) {
            CHECK(tensor.parameter->trainable());
        }
        CHECK(load_adapter(again, folder.path()).options == spec.options);
        CHECK(test::same_values(test::model_logits(again, batch), test::model_logits(model, batch)));
    }
}

TEST_CASE("ceft: lists that fit no model are refused") {
    for (const char* picked : {"", "0-5", "0-5/2/3", "0-8/1", "0-0/1", "a/1", "0--1/1", "/"}) {
        CAPTURE(picked);
        auto model = test::tiny_mixtral<float>();
        CHECK_THROWS_WITH_AS(attach(model, ceft_spec(std::string("picked=") + picked)),
                             doctest::Contains("router.options: picked"), Error);
    }
    auto model = test::tiny_mixtral<float>();
    auto spec = ceft_spec("picked=0/1");
    spec.targets = {"experts"};
    CHECK_THROWS_WITH_AS(attach(model, spec), doctest::Contains("lora=true"), Error);
    CHECK(expert_lists_text(expert_lists("5-0//3", "", 8)) == "0-5//3");
}
