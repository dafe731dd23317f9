// The weights of a run's checkpoint in a model to look at: the bits that the run had then, whatever trains, and what is refused.

#include <doctest/doctest.h>

#include <fstream>

#include <moegrad/methods/all.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/checkpoint.hpp>
#include <moegrad/train/checkpoint_weights.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

namespace moegrad::checkpoint_weights_test {
namespace {

using io_test::expect_error;
using io_test::TemporaryFolder;

AdapterSpec weights_spec(const std::string& method, Index rank = 2) {
    AdapterSpec spec;
    spec.set_method(method);
    spec.lora = {.rank = rank, .alpha = 4};
    spec.seed = 4;
    return spec;
}

/// What a model computes with: its weights, and what its routers learned beside them.
struct Known {
    std::uint64_t weights;
    std::vector<double> routers;
    bool operator==(const Known&) const = default;
};
template <class Real>
Known known(Decoder<Real>& model) {
    Known all{test::hash_of(trainable_parameters(model)), {}};
    for (const auto& [name, router] : model_routers(model)) {
        if (!router->learns()) continue;
        const auto state = router->state();
        all.routers.insert(all.routers.end(), state.begin(), state.end());
    }
    return all;
}

/// A run of four steps with a checkpoint after two, and its adapter. Gives what the model was at both.
template <class Real>
std::pair<Known, Known> short_run(const std::string& folder, const AdapterSpec& spec,
                                  ModelFamily family = ModelFamily::mixtral) {
    const auto model = test::small_model<Real>(test::small_config(family));
    attach(*model, spec);
    Context context({.device = Device::cpu, .threads = 1});
    Trainer<Real> trainer(context, *model, {"balance", "z"}, {});
    const auto data = test::ragged_samples(4, 48);
    const std::vector<std::int32_t> picks{0, 1, 2, 3};
    RunState state;
    for (; state.step < 2; ++state.step) trainer.step(data, picks, 1e-2);
    save_checkpoint(folder, trainer, state, "optim.lr = 0.01\n", 2);
    const Known then = known(*model);
    for (int n = 0; n < 2; ++n) trainer.step(data, picks, 1e-2);
    save_adapter(*model, spec, folder + "/adapter");
    return {then, known(*model)};
}

template <class Real>
std::unique_ptr<Decoder<Real>> with_adapter(const std::string& folder,
                                            ModelFamily family = ModelFamily::mixtral) {
    auto model = test::small_model<Real>(test::small_config(family));
    load_adapter(*model, folder + "/adapter");
    return model;
}

template <class Real>
void check_weights_of(const std::string& method, ModelFamily family = ModelFamily::mixtral) {
    CAPTURE(method);
    const TemporaryFolder folder;
    AdapterSpec spec = weights_spec(method);
    if (family == ModelFamily::llama) spec.targets = {"attention", "mlp"};
    const auto [then, last] = short_run<Real>(folder.path(), spec, family);
    const auto model = with_adapter<Real>(folder.path(), family);
    CHECK_FALSE(known(*model) == then);
    ThreadPool pool(1);
    read_checkpoint_weights(*model, folder.file("checkpoints/step-000002"), pool);
    CHECK(known(*model) == then);
    CHECK_FALSE(then == last);
}

}  // namespace

TEST_CASE("checkpoint weights: a model has the bits that the run had then") {
    for (const char* method : {"lora", "adamoe", "mor", "bias", "router_tuning"})
        check_weights_of<float>(method);
    check_weights_of<float>("molora", ModelFamily::llama);  // a router per Linear
    check_weights_of<double>("adamoe");
}

TEST_CASE("checkpoint weights: a model of another number type gets them rounded") {
    const TemporaryFolder folder;
    short_run<float>(folder.path(), weights_spec("lora"));
    const auto wide = with_adapter<double>(folder.path());
    const auto plain = with_adapter<float>(folder.path());
    ThreadPool pool(1);
    read_checkpoint_weights(*wide, folder.file("checkpoints/step-000002"), pool);
    read_checkpoint_weights(*plain, folder.file("checkpoints/step-000002"), pool);
    const auto want = test::values_of(trainable_parameters(*plain));
    const auto got = test::values_of(trainable_parameters(*wide));
    CHECK(std::equal(got.begin(), got.end(), want.begin(), want.end(),
                     [](double a, float b) { return a == static_cast<double>(b); }));
}

TEST_CASE("checkpoint weights: another adapter, and a byte that is not as it was saved, change nothing") {
    const TemporaryFolder folder, other;
    short_run<float>(folder.path(), weights_spec("lora"));
    short_run<float>(other.path(), weights_spec("lora", 4));
    ThreadPool pool(1);
    const auto refuse = [&](ErrorCode code, const std::string& words, const std::string& adapter) {
        const auto model = with_adapter<float>(adapter);
        const Known before = known(*model);
        expect_error(code, words,
                     [&] { read_checkpoint_weights(*model, folder.file("checkpoints/step-000002"), pool); });
        CHECK(known(*model) == before);
    };
    refuse(ErrorCode::shape, "another adapter or model", other.path());
    const TemporaryFolder gate;
    short_run<float>(gate.path(), weights_spec("router_tuning"));
    refuse(ErrorCode::format, "weights that the adapter trains", gate.path());
    const std::string path = folder.file("checkpoints/step-000002/state.safetensors");
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('x');
    file.close();
    refuse(ErrorCode::format, "state.safetensors", folder.path());
}

}  // namespace moegrad::checkpoint_weights_test
