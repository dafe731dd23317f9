#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/trainer.hpp>

#include <set>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;
using namespace moegrad::test;
using io_test::expect_error;
using io_test::TemporaryFolder;

namespace {

std::vector<float> logits_of(Decoder<float>& model, const Dataset& data) {
    const std::vector<std::int32_t> picks{0, 1, 2, 3};
    const Batch batch = make_batch(data, picks);
    Context context({.device = Device::cpu, .threads = 1});
    Tape tape(context, Mode::inference);
    Forward<float> forward{tape, batch.token, batch.segments};
    const auto y = model.logits(forward, model.hidden(forward)).value();
    return {y.values().begin(), y.values().end()};
}

AdapterSpec spec_of(Method method, std::vector<std::string> targets) {
    AdapterSpec spec;
    spec.method = method;
    spec.targets = std::move(targets);
    spec.lora = {.rank = 3, .alpha = 7, .dropout = 0.1};
    spec.seed = 77;
    return spec;
}

void train_a_little(Decoder<float>& model, const Dataset& data) {
    Context context({.device = Device::cpu, .threads = 1});
    Trainer<float> trainer(context, model, {"balance", "z"}, {});
    const std::vector<std::int32_t> picks{0, 1, 2, 3, 4, 5, 6, 7};
    for (Index n = 0; n < 4; ++n) trainer.step(data, picks, 2e-2, {{"balance", 0.05}});
}

/// Train, save, load onto a fresh base: the same function to the bit, and another one than the base's.
void check_round_trip(const ModelConfig& config, const AdapterSpec& spec) {
    CAPTURE(name(spec.method));
    CAPTURE(static_cast<int>(spec.gate));
    CAPTURE(spec.targets.front());
    const auto data = ragged_samples(8, config.vocab_size);
    const auto trained = small_model<float>(config), fresh = small_model<float>(config);
    const auto base = logits_of(*fresh, data);
    attach(*trained, spec);
    train_a_little(*trained, data);
    const TemporaryFolder folder;
    save_adapter(*trained, spec, folder.file("adapter"));
    const AdapterSpec loaded = load_adapter(*fresh, folder.file("adapter"));
    const auto want = logits_of(*trained, data);
    CHECK(logits_of(*fresh, data) == want);
    CHECK(want != base);
    CHECK(loaded.method == spec.method);
    CHECK(loaded.lora.rank == spec.lora.rank);
    CHECK(loaded.lora.alpha == spec.lora.alpha);
    CHECK(loaded.lora.dropout == spec.lora.dropout);
    CHECK(loaded.lora.scale == spec.lora.scale);
    CHECK(loaded.gate_mode() == spec.gate_mode());
    // The same parameters train, in the same order.
    const auto before = trainable_parameters(*trained), after = trainable_parameters(*fresh);
    CHECK(hash_of(before) == hash_of(after));
    REQUIRE(before.size() == after.size());
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(before[i]->name() == after[i]->name());
}

const ModelConfig kFileMixtral = small_config(ModelFamily::mixtral);
const ModelConfig kFileLlama = small_config(ModelFamily::llama);

/// Three experts with LoRA of rank 2 whose values are all different whole numbers.
std::unique_ptr<Decoder<float>> numbered_model() {
    ModelConfig config = kFileMixtral;
    config.num_local_experts = 3;
    auto model = small_model<float>(config);
    AdapterSpec spec = spec_of(Method::lora, {"experts"});
    spec.lora.rank = 2;
    attach(*model, spec);
    float next = 1;
    for (auto* parameter : trainable_parameters(*model)) {
        for (float& value : parameter->value().values()) value = next++;
    }
    return model;
}

}  // namespace

TEST_CASE("adapter files: round trip on a mixture of experts") {
    for (const Method method : {Method::lora, Method::adamoe, Method::mor}) {
        for (const GateMode gate : {GateMode::by_method, GateMode::frozen, GateMode::lora, GateMode::full}) {
            AdapterSpec spec = spec_of(method, {"attention", "experts"});
            spec.gate = gate;
            check_round_trip(kFileMixtral, spec);
        }
    }
}

TEST_CASE("adapter files: round trip on a dense model") {
    for (const Method method : {Method::lora, Method::molora, Method::adamoe, Method::mor}) {
        check_round_trip(kFileLlama, spec_of(method, {"attention", "mlp"}));
        check_round_trip(kFileLlama, spec_of(method, {"v_proj", "down_proj"}));
    }
    AdapterSpec spec = spec_of(Method::molora, {"gate_proj"});
    spec.gate = GateMode::full;
    check_round_trip(kFileLlama, spec);
}

TEST_CASE("adapter files: round trip of every choice of targets and settings") {
    for (const std::string target : {"all", "q_proj", "experts.gate_up", "experts.down"}) {
        check_round_trip(kFileMixtral, spec_of(Method::lora, {target}));
    }
    check_round_trip(kFileLlama, spec_of(Method::lora, {"all"}));
    AdapterSpec rs = spec_of(Method::lora, {"attention", "experts"});
    rs.lora.scale = LoraOptions::Scale::alpha_over_sqrt_rank;
    check_round_trip(kFileMixtral, rs);
    AdapterSpec other_k = spec_of(Method::lora, {"attention"});
    other_k.top_k = 3;
    check_round_trip(kFileMixtral, other_k);
    AdapterSpec nulls = spec_of(Method::adamoe, {"experts"});
    nulls.null_experts = 8;
    nulls.top_k = 5;
    nulls.null_weights = NullWeights::over_all;
    nulls.null_map = NullMap::identity;
    check_round_trip(kFileMixtral, nulls);
    for (const auto kind : {MixtureKind::logits, MixtureKind::vote, MixtureKind::free_weights}) {
        AdapterSpec mixture = spec_of(Method::mor, {"experts"});
        mixture.mixture = kind;
        mixture.routers = 3;
        check_round_trip(kFileMixtral, mixture);
    }
}

TEST_CASE("adapter files: fused experts lie as PEFT packs them") {
    const auto model = numbered_model();
    const TemporaryFolder folder;
    AdapterSpec spec = spec_of(Method::lora, {"experts"});
    spec.lora.rank = 2;
    save_adapter(*model, spec, folder.path());
    const SafetensorsFile file(folder.file("adapter_model.safetensors"));
    const Index E = 3, R = 2;
    const auto check = [&](const LoraParameters<float>& lora, const std::string& path) {
        const TensorInfo &a = file.at(path + ".lora_A.weight"), &b = file.at(path + ".lora_B.weight");
        const Index in = lora.A.shape()[2], out = lora.B.shape()[1];
        REQUIRE(a.shape == std::vector<Index>{E * R, in});
        REQUIRE(b.shape == std::vector<Index>{out, R * E});
        std::vector<float> A(static_cast<std::size_t>(a.count)), B(static_cast<std::size_t>(b.count));
        file.read(a, std::span<float>(A));
        file.read(b, std::span<float>(B));
        const auto ours_a = lora.A.value().view<3>(), ours_b = lora.B.value().view<3>();
        Index wrong = 0;
        for (Index e = 0; e < E; ++e) {
            for (Index j = 0; j < R; ++j) {
                for (Index i = 0; i < in; ++i)
                    wrong += A[static_cast<std::size_t>((e * R + j) * in + i)] != ours_a(e, j, i);
                for (Index o = 0; o < out; ++o) {
                    wrong += B[static_cast<std::size_t>(o * R * E + j * E + e)] != ours_b(e, o, j);
                }
            }
        }
        CHECK(wrong == 0);
    };
    const std::string path = "base_model.model.model.layers.1.mlp.experts";
    const auto& experts = model->layers()[1].moe[0].experts;
    check(experts.gate_up_lora, path + ".base_layer");
    check(experts.down_lora, path);
    CHECK(file.tensors().size() == 8);

    ModelConfig config = kFileMixtral;
    config.num_local_experts = 3;
    const auto fresh = small_model<float>(config);
    load_adapter(*fresh, folder.path());
    const auto want = values_of(trainable_parameters(*model));
    CHECK(values_of(trainable_parameters(*fresh)) == want);
    CHECK(std::set<float>(want.begin(), want.end()).size() == want.size());
}

TEST_CASE("adapter files: an adapter of three experts does not fit four") {
    const auto model = numbered_model();
    const TemporaryFolder folder;
    AdapterSpec spec = spec_of(Method::lora, {"experts"});
    spec.lora.rank = 2;
    save_adapter(*model, spec, folder.path());
    const auto other = small_model<float>(kFileMixtral);
    expect_error(ErrorCode::shape, "lora_A.weight", [&] { load_adapter(*other, folder.path()); });
}

TEST_CASE("adapter files: config and weights that do not belong together are refused") {
    const auto model = small_model<float>(kFileMixtral);
    const AdapterSpec spec = spec_of(Method::lora, {"q_proj", "v_proj"});
    attach(*model, spec);
    const TemporaryFolder folder;
    save_adapter(*model, spec, folder.path());
    const std::string config = io_test::read_text(folder.file("adapter_config.json"));
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string text = config;
        const auto at = text.find(from);
        REQUIRE(at != std::string::npos);
        folder.write("adapter_config.json", text.replace(at, from.size(), to));
        const auto fresh = small_model<float>(kFileMixtral);
        load_adapter(*fresh, folder.path());
    };
    with("\"r\": 3", "\"r\":3");
    expect_error(ErrorCode::shape, "q_proj.lora_A.weight", [&] { with("\"r\": 3", "\"r\": 4"); });
    expect_error(ErrorCode::format, "v_proj.lora_A.weight", [&] { with("\"v_proj\"", "\"q_proj\""); });
    expect_error(ErrorCode::format, "k_proj.lora_A.weight", [&] { with("\"v_proj\"", "\"k_proj\""); });
    expect_error(ErrorCode::config, "qproj", [&] { with("\"v_proj\"", "\"qproj\""); });
    const auto dense = small_model<float>(kFileLlama);
    folder.write("adapter_config.json", config);
    // q and v are the same places there, but it is another base.
    expect_error(ErrorCode::config, "moegrad.base",
                 [&] { load_adapter(*small_model<float>(kFileLlama), folder.path()); });
    CHECK_NOTHROW(load_adapter(*dense, folder.path(), {.any_base = true}));
    const auto other = small_model<float>(kFileMixtral, 12);
    expect_error(ErrorCode::config, "moegrad.base", [&] { load_adapter(*other, folder.path()); });
    expect_error(ErrorCode::file, "adapter_config.json",
                 [&] { load_adapter(*dense, folder.file("nowhere")); });
}
