// DoRA on disk: what PEFT saves with use_dora is read, gives PEFT's logits, and is written as PEFT writes it.

#include <moegrad/methods/dora.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/model_files.hpp>

#include "io/support.hpp"
#include "support/model_golden.hpp"

using namespace moegrad;
using io_test::TemporaryFolder;

namespace {

const std::string kDoraGolden = MOEGRAD_SOURCE_DIR "/tests/golden/";

std::vector<double> dora_logits(Decoder<float>& model, const std::vector<std::int32_t>& ids) {
    Context context({.device = Device::cpu, .threads = 1});
    Tape tape(context, Mode::inference);
    auto token = Tensor<std::int32_t>::zeros({static_cast<Index>(ids.size())});
    std::copy(ids.begin(), ids.end(), token.values().begin());
    const auto segments = Segments::of_lengths({9, 9});
    Forward<float> forward{tape, token, segments};
    const auto logits = model.logits(forward, model.hidden(forward));
    const auto values = logits.value().values();
    return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("dora golden: an adapter of PEFT 0.21.2 with use_dora gives PEFT's logits") {
    const std::string folder = kDoraGolden + "llama_tiny_dora";
    const SafetensorsFile reference(folder + "/reference.safetensors");
    const auto model = load_model<float>(kDoraGolden + "llama_tiny");
    const auto ids = test::read_ids(reference, "tokens");
    const auto bare = dora_logits(*model, ids);
    const AdapterSpec spec = load_adapter(*model, folder);
    CHECK(spec.method_name() == "dora");
    const auto want = test::read_numbers(reference, "logits").value, got = dora_logits(*model, ids);
    CHECK(test::distance_to_largest(got, want) < 5e-6);
    CHECK(test::distance_to_largest(bare, want) > 0.05);
}

TEST_CASE("dora: saved as PEFT saves it, loaded to the bit") {
    const std::string folder = kDoraGolden + "llama_tiny_dora";
    const SafetensorsFile reference(folder + "/reference.safetensors"),
        theirs(folder + "/adapter_model.safetensors");
    const auto ids = test::read_ids(reference, "tokens");
    const auto model = load_model<float>(kDoraGolden + "llama_tiny");
    const AdapterSpec spec = load_adapter(*model, folder);
    const TemporaryFolder saved;
    save_adapter(*model, spec, saved.path());
    const SafetensorsFile ours(saved.file("adapter_model.safetensors"));
    CHECK(ours.tensors().size() == theirs.tensors().size());
    for (const auto& info : theirs.tensors()) {
        CAPTURE(info.name);
        REQUIRE(ours.find(info.name) != nullptr);
        CHECK(ours.find(info.name)->shape == info.shape);
    }
    const Json json = parse_json_file(saved.file("adapter_config.json"));
    CHECK(json.find("peft_type")->string()->compare("LORA") == 0);
    CHECK(json.find("use_dora")->boolean() == true);
    CHECK(json.find("moegrad") == nullptr);
    const auto again = load_model<float>(kDoraGolden + "llama_tiny");
    load_adapter(*again, saved.path());
    CHECK(dora_logits(*again, ids) == dora_logits(*model, ids));
}
