// Models whose frozen weights are in NF4: the codes of a checkpoint, what they compute and how they train, adapters on them,
// and what refuses them.

#include <doctest/doctest.h>

#include <moegrad/train/merge.hpp>

#include "io/support.hpp"
#include "support/model_adapted.hpp"

using namespace moegrad;
using io_test::expect_error;

namespace {

/// A base folder, experts stored one by one or fused.
struct Nf4Folder {
    io_test::TemporaryFolder home;
    std::string base = home.file("base");

    explicit Nf4Folder(ModelFamily family, ExpertLayout layout = ExpertLayout::one_by_one) {
        const auto model = test::small_model<float>(test::small_config(family));
        if (auto* mixtral = dynamic_cast<Mixtral<float>*>(model.get())) mixtral->layout = layout;
        save_model(*model, base, StoredType::bf16);
    }
    template <class Real = float>
    std::unique_ptr<Decoder<Real>> dense() const {
        return load_model<Real>(base);
    }
    template <class Real = float>
    std::unique_ptr<Decoder<Real>> quantised(Device device = Device::cpu) const {
        return load_model<Real>(base, device, Quantisation::nf4);
    }
    /// The dense model with the numbers that NF4 stands for.
    std::unique_ptr<Decoder<float>> dequantised() const {
        auto model = dense(), narrow = quantised();
        Context context;
        const auto to = quantisable_parameters(*model), from = quantisable_parameters(*narrow);
        for (std::size_t i = 0; i < to.size(); ++i)
            copy_values(dequantise<float>(context, from[i]->quantised()), to[i]->value());
        return model;
    }
};

const std::vector<std::pair<ModelFamily, ExpertLayout>> kNf4Layouts{
    {ModelFamily::llama, ExpertLayout::one_by_one},
    {ModelFamily::mixtral, ExpertLayout::one_by_one},
    {ModelFamily::mixtral, ExpertLayout::fused}};

template <class T>
bool same_content(const Tensor<T>& a, const Tensor<T>& b) {
    const auto x = a.values(), y = b.values();
    return std::equal(x.begin(), x.end(), y.begin(), y.end());
}
bool same_codes(const Nf4Matrix& a, const Nf4Matrix& b) {
    return a.shape == b.shape && same_content(a.code, b.code) && same_content(a.scale, b.scale) &&
           same_content(a.large, b.large) && a.mean == b.mean;
}

std::vector<float> nf4_logits(Decoder<float>& model) {
    Context context({.device = Device::cpu, .threads = 2, .fill = Arena::Fill::poison});
    Tape tape(context, Mode::inference);
    const auto token = Tensor<std::int32_t>::from({7}, {3, 7, 11, 5, 40, 2, 9});
    const auto segments = Segments::of_lengths({4, 3});
    Forward<float> forward{tape, token, segments};
    const auto logits = model.logits(forward, model.hidden(forward)).value();
    return {logits.values().begin(), logits.values().end()};
}

AdapterSpec nf4_spec(ModelFamily family) {
    AdapterSpec spec;
    spec.lora = {.rank = 4, .alpha = 8, .dropout = 0.1};
    spec.targets = {"attention", family == ModelFamily::mixtral ? "experts" : "mlp"};
    return spec;
}

/// Losses of some steps on the same samples.
template <class Real>
std::vector<double> nf4_losses(Decoder<Real>& model, Device device = Device::cpu) {
    Context context({.device = device, .threads = 2, .fill = Arena::Fill::poison});
    Trainer<Real> trainer(context, model, {"balance", "z"}, {});
    const auto data = test::ragged_samples(8, 48);
    std::vector<double> losses;
    for (int n = 0; n < 5; ++n)
        losses.push_back(
            trainer.step(data, std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 7}, 1e-2).cross_entropy);
    return losses;
}

}  // namespace

TEST_CASE("models in nf4: the codes are those of the whole weights; the rest is as stored") {
    for (const auto& [family, layout] : kNf4Layouts) {
        const Nf4Folder folder(family, layout);
        const auto dense = folder.dense(), narrow = folder.quantised();
        const auto twice = folder.quantised<double>();
        const auto whole = quantisable_parameters(*dense), codes = quantisable_parameters(*narrow);
        const auto others = quantisable_parameters(*twice);
        CHECK(whole.size() == (family == ModelFamily::llama ? 14 : 12));
        for (std::size_t i = 0; i < whole.size(); ++i) {
            CAPTURE(codes[i]->name());
            Nf4Quantiser quantiser(whole[i]->shape());
            quantiser.add(whole[i]->value().values());
            CHECK(same_codes(codes[i]->quantised(), quantiser.finish()));
            CHECK(same_codes(codes[i]->quantised(), others[i]->quantised()));
            CHECK_FALSE(codes[i]->value().defined());
        }
        const auto base = narrow->base_parameters(), same = dense->base_parameters();
        std::size_t kept = 0;
        for (std::size_t i = 0; i < base.size(); ++i) {
            if (base[i]->quantised().defined()) continue;
            ++kept;
            CHECK(same_content(base[i]->value(), same[i]->value()));
        }
        CHECK(kept == base.size() - whole.size());
        CHECK(base_fingerprint(*narrow) == base_fingerprint(*dense));
        CHECK(count_nonfinite(*narrow).total() == 0);
    }
}

TEST_CASE("models in nf4: logits and training are those of the numbers they stand for, to the bit") {
    for (const auto& [family, layout] : kNf4Layouts) {
        const Nf4Folder folder(family, layout);
        const auto dense = folder.dequantised(), narrow = folder.quantised();
        CHECK(nf4_logits(*narrow) == nf4_logits(*dense));
        CHECK(nf4_logits(*narrow) != nf4_logits(*folder.dense()));
        for (const auto activations : {Activations::kept, Activations::recomputed}) {
            const auto one = folder.dequantised(), other = folder.quantised();
            for (auto* model : {one.get(), other.get()}) {
                model->activations = activations;
                attach(*model, nf4_spec(family));
            }
            const auto losses = nf4_losses(*other);
            CHECK(losses == nf4_losses(*one));
            CHECK(losses.back() < losses.front());
            CHECK(test::hash_of(trainable_parameters(*other)) == test::hash_of(trainable_parameters(*one)));
        }
    }
}

TEST_CASE("models in nf4: an adapter trains on them, is saved, and fits both forms of the base") {
    for (const auto family : {ModelFamily::llama, ModelFamily::mixtral}) {
        const Nf4Folder folder(family);
        const AdapterSpec spec = nf4_spec(family);
        const auto trained = folder.quantised();
        attach(*trained, spec);
        nf4_losses(*trained);
        save_adapter(*trained, spec, folder.home.file("adapter"));
        const auto again = folder.quantised(), dense = folder.dense();
        load_adapter(*again, folder.home.file("adapter"));
        CHECK(nf4_logits(*again) == nf4_logits(*trained));
        CHECK_NOTHROW(load_adapter(*dense, folder.home.file("adapter")));
    }
}

TEST_CASE("models in nf4: on a GPU they lie there, and lose and learn what the CPU does") {
    if (!has_cuda()) return;
    for (const auto& [family, layout] : kNf4Layouts) {
        const Nf4Folder folder(family, layout);
        const AdapterSpec spec = nf4_spec(family);
        const auto here = folder.quantised();
        attach(*here, spec);
        const auto want = nf4_losses(*here);
        const auto check = [&]<class Real>(double bound) {
            const std::size_t before = Buffer::lasting_bytes(Device::cpu);
            const auto there = folder.quantised<Real>(Device::cuda);
            CHECK(Buffer::lasting_bytes(Device::cpu) == before);
            for (auto* parameter : quantisable_parameters(*there))
                CHECK_FALSE(parameter->quantised().code.on_host());
            CHECK(base_fingerprint(*there) == base_fingerprint(*here));
            attach(*there, spec);
            move_to(*there, Device::cuda);
            const auto got = nf4_losses(*there, Device::cuda);
            for (std::size_t i = 0; i < want.size(); ++i)
                CHECK(std::abs(got[i] - want[i]) <= bound * want[i]);
        };
        check.operator()<float>(2e-5);
        check.operator()<bf16>(0.02);
    }
}

TEST_CASE("models in nf4: a base weight cannot train, a gate can; merging and writing need the weights") {
    const Nf4Folder folder(ModelFamily::mixtral);
    const auto model = folder.quantised();
    const auto narrow = quantisable_parameters(*model);
    expect_error(ErrorCode::config, narrow.back()->name(), [&] { narrow.back()->set_trainable(true); });
    AdapterSpec spec = nf4_spec(ModelFamily::mixtral);
    spec.gate = GateMode::full;
    attach(*model, spec);
    CHECK(nf4_losses(*model).size() == 5);
    expect_error(ErrorCode::unsupported, "a base in NF4", [&] { merge_lora(*model, spec); });
    expect_error(ErrorCode::unsupported, "a base in NF4",
                 [&] { save_model(*model, folder.home.file("out")); });
    CHECK_FALSE(std::filesystem::exists(folder.home.file("out")));
    expect_error(ErrorCode::unsupported, "q_proj", [&] { model->initialize(1); });
}

TEST_CASE("models in nf4: weights that are no numbers, and stacks that blocks do not fit, are named") {
    const io_test::TemporaryFolder folder;
    const auto model = test::small_model<float>(test::small_config(ModelFamily::mixtral));
    model->layers()[1].moe.front().experts.down.value().data()[100] = NAN;
    save_model(*model, folder.file("nan"));
    expect_error(ErrorCode::value, "model.layers.1.mlp.experts.down_proj",
                 [&] { load_model<float>(folder.file("nan"), Device::cpu, Quantisation::nf4); });
    save_model(*test::small_model<float>(test::small_config(ModelFamily::mixtral, 24, 10)),
               folder.file("odd"));
    expect_error(ErrorCode::shape, "model.layers.0.mlp.experts.gate_up_proj",
                 [&] { load_model<float>(folder.file("odd"), Device::cpu, Quantisation::nf4); });
}
