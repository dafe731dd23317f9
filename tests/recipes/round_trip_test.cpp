// A method counts when its recipe trains, its adapter is saved and read back, and the model computes the same bits as
// before; and when a GPU, where the program has kernels for one, learns the same.

#include <doctest/doctest.h>

#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/model_saver.hpp>
#include <moegrad/train/parameter_groups.hpp>
#include <moegrad/train/penalty_coefficients.hpp>

#include "io/support.hpp"
#include "recipes/support.hpp"

#ifdef MOEGRAD_HAVE_TOML

namespace moegrad::recipe_test {
namespace {

struct Lesson {
    std::unique_ptr<Decoder<float>> model;
    AdapterSpec spec;
    std::vector<double> losses;
};

/// The small model of a recipe's family, its weights as the recipe wants them: those in NF4 are read from a checkpoint, as a
/// run reads them.
std::unique_ptr<Decoder<float>> base_of(const std::string& name, Device device = Device::cpu) {
    auto model = test::small_model<float>(family_of(name));
    const Quantisation quantise = recipe(name).quantise;
    if (quantise == Quantisation::none) return model;
    const io_test::TemporaryFolder folder;
    save_model(*model, folder.file("base"), StoredType::bf16);
    return load_model<float>(folder.file("base"), device, quantise);
}

/// Of two tasks, for the methods that ask.
Dataset lesson_data(const ModelConfig& config) {
    Dataset data = test::ragged_samples(4, config.vocab_size, 3, 12);
    for (std::size_t i = 0; i < data.size(); ++i) data[i].task = static_cast<std::int32_t>(i % 2);
    return data;
}

/// Three steps of a recipe.
Lesson learn(const std::string& name, Device device) {
    const RunConfig config = recipe(name);
    const ModelConfig family = family_of(name);
    const Dataset data = lesson_data(family);
    Lesson lesson{base_of(name, device), config.adapter_for(family), {}};
    attach(*lesson.model, lesson.spec);
    Context context({.device = device, .threads = 1});
    move_to(*lesson.model, device);
    Trainer<float> trainer(context, *lesson.model, penalty_names(*lesson.model),
                           {.clip = config.clip, .micro_batch = 2, .seed = 3, .graphs = false});
    std::vector<std::string> names;
    for (const auto* parameter : trainer.parameters()) names.push_back(parameter->name());
    trainer.set_rate_ratios(ParameterGroups::parse(config.rates).ratios(names));
    const auto coefficients = PenaltyCoefficients(config, *lesson.model).at(0);
    for (Index n = 0; n < 3; ++n) {
        const auto report = trainer.step(data, std::vector<std::int32_t>{0, 1, 2, 3}, 1e-2, coefficients);
        lesson.losses.push_back(report.cross_entropy);
    }
    move_to(*lesson.model, Device::cpu);
    return lesson;
}

std::vector<float> logits_of(Decoder<float>& model) {
    const Batch batch = make_batch(lesson_data(model.config()), std::vector<std::int32_t>{0, 1, 2, 3});
    Context context({.device = Device::cpu, .threads = 1});
    Tape tape(context, Mode::inference);
    Forward<float> forward{tape, batch.token, batch.segments};
    const auto y = model.logits(forward, model.hidden(forward)).value();
    return {y.values().begin(), y.values().end()};
}

}  // namespace

TEST_CASE("recipes: trained, saved and read back, each computes the same bits") {
    int in_nf4 = 0;
    for (const std::string& name : train_recipes()) {
        CAPTURE(name);
        try {
            const Lesson lesson = learn(name, Device::cpu);
            const bool nf4 = recipe(name).quantise == Quantisation::nf4;
            for (const auto* weight : quantisable_parameters(*lesson.model))
                CHECK(weight->quantised().defined() == nf4);
            in_nf4 += nf4;
            const io_test::TemporaryFolder folder;
            save_adapter(*lesson.model, lesson.spec, folder.file("adapter"));
            const auto fresh = base_of(name);
            const auto base = logits_of(*fresh);
            const AdapterSpec read = load_adapter(*fresh, folder.file("adapter"));
            CHECK(read.method_name() == lesson.spec.method_name());
            CHECK(logits_of(*fresh) == logits_of(*lesson.model));
            CHECK(logits_of(*fresh) != base);
            const Lesson again = learn(name, Device::cpu);
            CHECK(test::hash_of(trainable_parameters(*again.model)) ==
                  test::hash_of(trainable_parameters(*lesson.model)));
        } catch (const Error& error) {
            FAIL_CHECK(std::string(error.what()));
        }
    }
    CHECK(in_nf4 > 0);  // QLoRA's
}

TEST_CASE("recipes: a GPU learns what the CPU learns") {
    if (!has_cuda()) {
        MESSAGE("no CUDA kernels in this program: nothing to compare");
        return;
    }
    for (const std::string& name : train_recipes()) {
        CAPTURE(name);
        try {
            const auto want = learn(name, Device::cpu).losses, got = learn(name, Device::cuda).losses;
            for (std::size_t n = 0; n < want.size(); ++n) CHECK(std::abs(got[n] - want[n]) < 2e-4);
        } catch (const Error& error) {
            FAIL_CHECK(std::string(error.what()));
        }
    }
}

}  // namespace moegrad::recipe_test

#endif
