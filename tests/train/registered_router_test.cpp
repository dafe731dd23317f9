// A router from outside through the whole path: trained, saved, loaded onto a fresh base, the same bits.

#include <doctest/doctest.h>

#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/run_config_keys.hpp>
#include <moegrad/train/trainer.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"
#include "support/registered_routers.hpp"

using namespace moegrad;

namespace {

std::vector<float> registered_logits(Decoder<float>& model, const Dataset& data) {
    const Batch batch = make_batch(data, std::vector<std::int32_t>{0, 1, 2});
    Context context({.device = Device::cpu, .threads = 1});
    Tape tape(context, Mode::inference);
    Forward<float> forward{tape, batch.token, batch.segments};
    const auto y = model.logits(forward, model.hidden(forward)).value();
    return {y.values().begin(), y.values().end()};
}

void check_registered_round_trip(ModelFamily family, GateMode mode, std::vector<std::string> targets) {
    CAPTURE(static_cast<int>(mode));
    const ModelConfig config = test::small_config(family);
    const auto data = test::ragged_samples(8, config.vocab_size);
    const auto trained = test::small_model<float>(config), fresh = test::small_model<float>(config);
    const auto base = registered_logits(*fresh, data);
    AdapterSpec spec;
    spec.set_method("biased");
    spec.options = "temperature=2";
    spec.gate = mode;
    spec.targets = std::move(targets);
    spec.lora = {.rank = 3, .alpha = 7, .dropout = 0.1};
    spec.balance = BalanceLoss::switch_share;
    attach(*trained, spec);
    const auto start = registered_logits(*trained, data);
    Context context({.device = Device::cpu, .threads = 1});
    Trainer<float> trainer(context, *trained, {"balance", "z"}, {});
    const std::vector<std::int32_t> picks{0, 1, 2, 3, 4, 5, 6, 7};
    for (Index n = 0; n < 4; ++n) {
        const auto report = trainer.step(data, picks, 2e-2, {{"balance", 0.05}});
        CHECK(report.penalties.count("balance") == 1);
    }
    const io_test::TemporaryFolder folder;
    save_adapter(*trained, spec, folder.file("adapter"));
    const AdapterSpec loaded = load_adapter(*fresh, folder.file("adapter"));
    CHECK(loaded.method_name() == "biased");
    CHECK(loaded.options == "temperature=2");
    const auto want = registered_logits(*trained, data);
    CHECK(registered_logits(*fresh, data) == want);
    CHECK(want != start);
    CHECK(want != base);
    CHECK(test::hash_of(trainable_parameters(*trained)) == test::hash_of(trainable_parameters(*fresh)));
}

}  // namespace

TEST_CASE("registered router: train, save, load on a Mixtral") {
    for (const GateMode mode : {GateMode::by_method, GateMode::frozen, GateMode::full}) {
        check_registered_round_trip(ModelFamily::mixtral, mode, {"attention", "experts"});
    }
}

TEST_CASE("registered router: train, save, load over the LoRA experts of a Llama") {
    check_registered_round_trip(ModelFamily::llama, GateMode::by_method, {"q_proj", "mlp"});
}

TEST_CASE("registered router: the file has its parameters by name, and what after_step keeps") {
    const ModelConfig config = test::small_config(ModelFamily::mixtral);
    const auto data = test::ragged_samples(8, config.vocab_size);
    const auto model = test::small_model<float>(config), fresh = test::small_model<float>(config);
    AdapterSpec spec;
    spec.set_method("biased");
    attach(*model, spec);
    Context context({.device = Device::cpu, .threads = 1});
    Trainer<float> trainer(context, *model, {}, {});
    for (Index n = 0; n < 3; ++n) trainer.step(data, std::vector<std::int32_t>{0, 1}, 1e-2);
    const io_test::TemporaryFolder folder;
    save_adapter(*model, spec, folder.file("adapter"));
    const SafetensorsFile file(folder.file("adapter/adapter_model.safetensors"));
    const std::string layer = "base_model.model.model.layers.1.mlp.";
    CHECK(file.at(layer + "router.bias").shape == std::vector<Index>{4, 1});
    CHECK(file.at(layer + "router.steps").shape == std::vector<Index>{1, 1});
    CHECK(file.at(layer + "gate.lora_A.weight").shape == std::vector<Index>{8, 16});
    const Json json = parse_json_file(folder.file("adapter/adapter_config.json"));
    const JsonRef root(json, "adapter_config.json");
    CHECK(root.at("peft_type").string() == "MOLORA");
    CHECK(root.at("moegrad").at("method").string() == "biased");
    load_adapter(*fresh, folder.file("adapter"));
    auto* mine = fresh->layers()[1].moe.front().router.get<test::BiasedRouter<float>>();
    REQUIRE(mine != nullptr);
    CHECK(mine->steps->value().data()[0] == 3);
}

TEST_CASE("registered router: an adapter whose router is not in this program says so") {
    const auto model = test::small_model<float>(test::small_config(ModelFamily::mixtral));
    const io_test::TemporaryFolder folder;
    AdapterSpec spec;
    spec.set_method("biased");
    attach(*model, spec);
    save_adapter(*model, spec, folder.file("adapter"));
    const auto before = registered_routers();
    registered_routers().clear();
    const auto fresh = test::small_model<float>(test::small_config(ModelFamily::mixtral));
    try {
        load_adapter(*fresh, folder.file("adapter"));
        FAIL("no error");
    } catch (const Error& error) {
        CHECK(error.got == "\"biased\"");
        CHECK(error.hint.find("must be in this program") != std::string::npos);
    }
    registered_routers() = before;
}

TEST_CASE(
    "registered router: the configuration takes its name and its options, and refuses options for others") {
    RunConfig config;
    set_config(config, "adapter.method", "biased", "test");
    set_config(config, "router.options", "temperature=2", "test");
    const ModelConfig mixtral = test::small_config(ModelFamily::mixtral);
    const AdapterSpec spec = config.adapter_for(mixtral);
    CHECK(spec.method == Method::registered);
    CHECK(spec.options == "temperature=2");
    for (const auto& field : config_fields()) {
        if (std::string(field.key) == "adapter.method") CHECK(field.get(config) == "biased");
    }
    try {
        set_config(config, "adapter.method", "biazed", "test");
        FAIL("no error");
    } catch (const Error& error) {
        CHECK(error.hint.find("did you mean `biased`?") != std::string::npos);
    }
    set_config(config, "adapter.method", "lora", "test");
    CHECK_THROWS_AS(config.adapter_for(mixtral), Error);
}
