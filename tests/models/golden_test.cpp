// Parity with PyTorch: logits, loss, every gradient, every routing decision and ten optimiser steps of tiny
// checkpoints. The project's own references were computed in float64, those of ../shared/golden in float32. A GPU has the
// CPU's bounds in float.

#include <moegrad/methods/dora.hpp>
#include <moegrad/train/trainer.hpp>

#include "support/model_probe.hpp"

using namespace moegrad;
using namespace moegrad::test;

namespace {

struct Bounds {
    double logits, gradients, loss;
};
constexpr Bounds kOwnFloat{5e-6, 1e-5, 5e-6}, kSharedFloat{2e-5, 1e-4, 1e-5};

void check_routing(const SafetensorsFile& out, const SafetensorsFile& reference, double bound) {
    for (int layer = 0; layer < 2; ++layer) {
        const std::string name = format("routing.{}", layer);
        CHECK(read_ids(out, name + ".expert") == read_ids(reference, name + ".expert"));
        CHECK(distance_to_largest(read_numbers(out, name + ".weight").value,
                                  read_numbers(reference, name + ".weight").value) <= bound);
    }
}

/// What `moegrad forward --grads` writes, against the reference: nothing missing, nothing more.
template <class Real>
void check_probe(const Golden& golden, const Bounds& bounds, Device device = Device::cpu) {
    CAPTURE(golden.reference);
    CAPTURE(name(number_of<Real>()));
    const io_test::TemporaryFolder folder;
    const double returned = run_forward_probe<Real>({.model = golden.model,
                                                     .adapter = golden.adapter,
                                                     .tokens = golden.reference,
                                                     .out = folder.file("out.safetensors"),
                                                     .gradients = true,
                                                     .threads = 2,
                                                     .device = device});
    const SafetensorsFile out(folder.file("out.safetensors")), reference(golden.reference);
    const auto logits = read_numbers(out, "logits"), expected = read_numbers(reference, "logits");
    CHECK(logits.shape == expected.shape);
    CHECK(distance_to_largest(logits.value, expected.value) <= bounds.logits);
    const double loss = read_numbers(reference, "loss").value.at(0);
    CHECK(std::abs(returned - loss) <= bounds.loss);
    CHECK(std::abs(read_numbers(out, "loss").value.at(0) - loss) <= bounds.loss + 5e-7);
    std::size_t gradients = 0;
    for (const auto& [tensor, want] : reference_gradients(reference)) {
        const std::string& name = tensor;  // clang 14 captures no structured binding
        CAPTURE(name);
        REQUIRE(out.find(name) != nullptr);
        const auto got = read_numbers(out, name);
        CHECK(got.shape == want.shape);
        CHECK(distance_to_norm(got.value, want.value) <= bounds.gradients);
        ++gradients;
    }
    for (const auto& info : out.tensors()) gradients -= info.name.starts_with("grad.");
    CHECK(gradients == 0);
    if (golden.routes) check_routing(out, reference, bounds.logits);
}

/// The two samples of a reference, as training sees them.
Dataset samples_of(const SafetensorsFile& reference) {
    const auto ids = read_ids(reference, "tokens");
    const auto length = static_cast<std::ptrdiff_t>(reference.at("tokens").shape[1]);
    return {language_sample({ids.begin(), ids.begin() + length}),
            language_sample({ids.begin() + length, ids.end()})};
}

template <class Real>
double worst_of_ten_steps(const std::string& base, const std::string& adapter) {
    const Json json = parse_json_file(adapter + "/ten_steps.json");
    const JsonRef run(json, adapter);
    const auto betas = read_list(run.at("betas")), losses = read_list(run.at("losses"));
    const auto model = load_model<Real>(base);
    load_adapter(*model, adapter);
    Context context({.device = Device::cpu, .threads = 2});
    TrainerOptions options{.adamw = {.beta1 = betas[0],
                                     .beta2 = betas[1],
                                     .epsilon = run.at("eps").number(0, 1),
                                     .weight_decay = run.at("weight_decay").number(0, 1)},
                           .clip = 0};
    Trainer<Real> trainer(context, *model, {}, options);
    const auto data = samples_of(SafetensorsFile(adapter + "/reference.safetensors"));
    const std::vector<std::int32_t> picks{0, 1};
    double worst = 0;
    REQUIRE(losses.size() == 10);
    for (double loss : losses) {
        worst = std::max(worst,
                         std::abs(trainer.step(data, picks, run.at("lr").number(0, 1)).cross_entropy - loss));
    }
    return worst;
}

/// Loss and gradients through the API, without the probe: gradients by the checkpoint's names.
std::map<std::string, std::vector<double>> gradients_by_hand(const Golden& golden, Activations activations) {
    const auto model = load_model<double>(golden.model);
    model->activations = activations;
    for (auto* parameter : model->base_parameters()) parameter->set_trainable(true);
    Context context({.device = Device::cpu, .threads = 2, .fill = Arena::Fill::poison});
    const auto data = samples_of(SafetensorsFile(golden.reference));
    const std::vector<std::int32_t> picks{0, 1};
    const Batch batch = make_batch(data, picks);
    Tape tape(context);
    Forward<double> forward{tape, batch.token, batch.segments};
    const auto nll = model->loss(forward, model->hidden(forward), batch.target);
    context.scalars().coefficient[0] = 1.0 / static_cast<double>(data[0].supervised() + data[1].supervised());
    seed(tape, nll, 0);
    tape.backward();
    std::map<std::string, std::vector<double>> all;
    for (const auto& stored : model->stored_tensors()) {
        const auto gradient = stored.part(total_gradient(*stored.parameter));
        all["grad." + stored.name] = {gradient.values().begin(), gradient.values().end()};
    }
    return all;
}

}  // namespace

TEST_CASE("golden: own references, float32") {
    for (const auto& golden : own_goldens()) check_probe<float>(golden, kOwnFloat);
}

TEST_CASE("golden: own references, float64") {
    // What is left is the rounding of the reference and of the probe's file to float32.
    for (const auto& golden : own_goldens()) check_probe<double>(golden, {2e-7, 2e-7, 5e-7});
}

TEST_CASE("golden: gradients of the API are those of the reference, activations kept or recomputed") {
    for (const std::string name : {"llama_tiny", "llama_tied_rope3", "mistral_window", "mixtral_tiny"}) {
        CAPTURE(name);
        const auto kept = gradients_by_hand(own_golden(name), Activations::kept);
        CHECK(gradients_by_hand(own_golden(name), Activations::recomputed) == kept);
        for (const auto& [tensor, want] : reference_gradients(SafetensorsFile(own_golden(name).reference))) {
            const std::string& name_of_it = tensor;
            CAPTURE(name_of_it);
            CHECK(distance_to_norm(kept.at(tensor), want.value) <= 2e-7);
        }
    }
}

TEST_CASE("golden: a reference with one other value is far away") {
    // The distances above can fail: one value of a gradient that is off by a thousandth.
    const auto gradients = gradients_by_hand(own_golden("llama_tied_rope3"), Activations::kept);
    Numbers other = reference_gradients(SafetensorsFile(own_golden("llama_tied_rope3").reference))
                        .at("grad.model.norm.weight");
    other.value.at(3) *= 1.001;
    CHECK(distance_to_norm(gradients.at("grad.model.norm.weight"), other.value) > 1e-6);
}

TEST_CASE("golden: ten AdamW steps of the adapter") {
    const std::string root = MOEGRAD_SOURCE_DIR "/tests/golden/";
    CHECK(worst_of_ten_steps<double>(root + "mixtral_tiny", root + "mixtral_tiny_peft") <= 1e-9);
    CHECK(worst_of_ten_steps<float>(root + "mixtral_tiny", root + "mixtral_tiny_peft") <= 5e-6);
}

TEST_CASE("golden: real inputs, logits, gradients and ten steps") {
    io_test::Inputs inputs;
    for (const auto& golden : shared_goldens(inputs)) {
        check_probe<float>(golden, kSharedFloat);
        check_probe<double>(golden, {1e-5, 5e-5, 1e-5});
        if (golden.adapter.empty()) continue;
        CHECK(worst_of_ten_steps<float>(golden.model, golden.adapter) <= 1e-4);
        CHECK(worst_of_ten_steps<double>(golden.model, golden.adapter) <= 1e-4);
    }
}

TEST_CASE("golden: on a GPU in float32, own references and real inputs") {
    if (!has_cuda()) return;
    io_test::Inputs inputs;
    for (const auto& golden : own_goldens()) check_probe<float>(golden, kOwnFloat, Device::cuda);
    for (const auto& golden : shared_goldens(inputs)) check_probe<float>(golden, kSharedFloat, Device::cuda);
    const Golden dora = own_golden("llama_tiny", "llama_tiny_dora");  // a reference of logits alone
    const io_test::TemporaryFolder folder;
    const Probe got = probe<float>(
        {.model = dora.model, .adapter = dora.adapter, .tokens = dora.reference, .out = {}, .threads = 1},
        Device::cuda, folder.file("out.safetensors"));
    const auto want = read_numbers(SafetensorsFile(dora.reference), "logits").value;
    CHECK(distance_to_largest(got.at("logits"), want) <= kOwnFloat.logits);
}

TEST_CASE("golden: AdaMoE with copied nulls and k = 3 is plain top-2 before the first step") {
    const Golden golden = own_golden("mixtral_tiny");
    const auto plain = load_model<double>(golden.model), nulls = load_model<double>(golden.model);
    AdapterSpec spec;
    spec.method = Method::adamoe;
    spec.null_experts = 4;
    spec.top_k = 3;
    attach(*nulls, spec);
    Context context({.device = Device::cpu, .threads = 1});
    const auto data = samples_of(SafetensorsFile(golden.reference));
    const std::vector<std::int32_t> picks{0, 1};
    const Batch batch = make_batch(data, picks);
    const auto logits = [&](Decoder<double>& model) {
        Tape tape(context, Mode::inference);
        Forward<double> forward{tape, batch.token, batch.segments};
        const auto y = model.logits(forward, model.hidden(forward));
        return std::vector<double>(y.value().values().begin(), y.value().values().end());
    };
    const auto want = logits(*plain);
    CHECK(distance_to_largest(logits(*nulls), want) <= 1e-12);
    nulls->layers()[0].moe[0].router.get<NullExpertRouter<double>>()->k = 2;
    CHECK(distance_to_largest(logits(*nulls), want) > 1e-3);  // one true expert: another model
}
