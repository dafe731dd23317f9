// LoRA, acceptance items of methods.md 9 about merging: merged against live within one step of bf16, and back again.

#include <doctest/doctest.h>

#include <moegrad/train/merged_checkpoint.hpp>

#include "io/support.hpp"
#include "support/model_adapted.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// |a - b| in steps of bf16 at the size of the larger one.
double bf16_steps_apart(double a, double b) {
    const double size = std::max(std::abs(a), std::abs(b));
    return size == 0 ? 0 : std::abs(a - b) / std::exp2(std::floor(std::log2(size)) - 7);
}

/// W + s B A of every weight that the adapter changes, in double.
std::map<std::string, std::vector<double>> live_weights(Decoder<float>& model) {
    std::map<std::string, std::vector<double>> all;
    for (const auto& update : lora_updates(model)) {
        const auto values = update.weight->value().values();
        std::vector<double>& live = all[update.weight->name()];
        live.assign(values.begin(), values.end());
        std::vector<double> delta(static_cast<std::size_t>(update.columns()));
        auto at = live.begin();
        for (Index e = 0; e < update.matrices(); ++e) {
            for (Index row = 0; row < update.rows(); ++row) {
                update.delta_row(e, row, delta);
                for (const double d : delta) *at++ += d;
            }
        }
    }
    return all;
}

struct Bf16Merge {
    io_test::TemporaryFolder home;
    std::string base = home.file("base"), adapter = home.file("adapter"), out = home.file("out");

    Bf16Merge(ModelFamily family, const AdapterSpec& spec) {
        const ModelConfig config = test::small_config(family);
        save_model(*test::small_model<float>(config), base, StoredType::bf16);
        test::write_adapter(config, spec, adapter);
    }
    void merge(StoredType type) const {
        merge_checkpoint({.model = base, .adapter = adapter, .out = out, .type = type, .threads = 1});
    }
};

std::vector<double> parameter_values(Decoder<float>& model, const std::string& name) {
    for (const auto* parameter : model.base_parameters()) {
        if (parameter->name() != name) continue;
        const auto values = parameter->value().values();
        return {values.begin(), values.end()};
    }
    throw Error{ErrorCode::state, name, "a weight of the base", "none"};
}

}  // namespace

TEST_CASE(
    "lora acceptance: merged weights in bf16 are within one step of what the live adapter computes with") {
    for (const ModelFamily family : {ModelFamily::llama, ModelFamily::mixtral}) {
        const Bf16Merge folders(family, test::adapted_spec({"all"}));
        folders.merge(StoredType::bf16);
        const auto live = load_model<float>(folders.base), merged = load_model<float>(folders.out);
        load_adapter(*live, folders.adapter);
        const auto want = live_weights(*live);
        CHECK(want.size() >= 10);
        for (const auto& [name, values] : want) {
            CAPTURE(name);
            const auto got = parameter_values(*merged, name);
            REQUIRE(got.size() == values.size());
            double worst = 0;
            for (std::size_t i = 0; i < got.size(); ++i)
                worst = std::max(worst, bf16_steps_apart(got[i], values[i]));
            CHECK(worst <= 1);
            CHECK(worst > 0.1);  // bf16 it is
        }
    }
}

TEST_CASE("lora acceptance: logits of the merged model, as bf16, are within one step of the live adapter's") {
    for (const ModelFamily family : {ModelFamily::llama, ModelFamily::mixtral}) {
        const Bf16Merge folders(family, test::adapted_spec({"all"}));
        folders.merge(StoredType::f32);
        const auto live = load_model<float>(folders.base), merged = load_model<float>(folders.out);
        load_adapter(*live, folders.adapter);
        const auto want = moegrad::detail::probe_logits(test::context(), *live, 3);
        const auto got = moegrad::detail::probe_logits(test::context(), *merged, 3);
        double worst = 0;
        for (std::size_t i = 0; i < want.size(); ++i) {
            const auto rounded = [](float value) { return static_cast<float>(bf16(value)); };
            worst = std::max(worst, bf16_steps_apart(rounded(want[i]), rounded(got[i])));
        }
        CHECK(worst <= 1);
    }
}

TEST_CASE("lora acceptance: a merge taken back is the base") {
    // No verb takes a merge back: merging writes a folder of its own and the base's stays as it was, which is the exact way
    // back. In memory the updates stay readable, and taking them off again gives the weights up to the rounding of a sum.
    const Bf16Merge folders(ModelFamily::mixtral, test::adapted_spec({"all"}));
    const auto before = io_test::read_text(folders.base + "/model.safetensors");
    folders.merge(StoredType::f32);
    CHECK(io_test::read_text(folders.base + "/model.safetensors") == before);

    const auto spec = test::adapted_spec({"all"});
    const auto config = test::small_config(ModelFamily::mixtral);
    const auto bare = test::small_model<double>(config);
    const auto model = test::adapted_model<double>(config, spec);
    std::vector<double> delta;
    for (const auto& update : merge_lora(*model, spec)) {
        delta.resize(static_cast<std::size_t>(update.columns()));
        double* row = update.weight->value().data();
        for (Index i = 0; i < update.matrices() * update.rows(); ++i, row += update.columns()) {
            update.delta_row(i / update.rows(), i % update.rows(), delta);
            for (std::size_t c = 0; c < delta.size(); ++c) row[c] -= delta[c];
        }
    }
    const auto base = bare->base_parameters(), back = model->base_parameters();
    REQUIRE(base.size() == back.size());
    double worst = 0;
    for (std::size_t i = 0; i < base.size(); ++i) {
        REQUIRE(base[i]->size() == back[i]->size());
        for (Index n = 0; n < base[i]->size(); ++n)
            worst = std::max(worst, std::abs(base[i]->value().data()[n] - back[i]->value().data()[n]));
    }
    CHECK(worst <= 1e-15);
}
