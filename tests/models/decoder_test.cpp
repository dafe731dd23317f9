// What holds for every decoder: which parameters it has, that a sample's bits do not depend on its batch, and
// that a checkpoint is read whole or refused.

#include <moegrad/io/model_config_writer.hpp>
#include <moegrad/io/safetensors_writer.hpp>

#include <set>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;
using namespace moegrad::test;
using io_test::expect_error;

namespace {

const ModelConfig kMixtral = small_config(ModelFamily::mixtral);
const ModelConfig kLlama = small_config(ModelFamily::llama);

std::vector<float> logits_of(Decoder<float>& model, const Dataset& data,
                             const std::vector<std::int32_t>& picks, int threads = 1) {
    const Batch batch = make_batch(data, picks);
    Context context({.device = Device::cpu, .threads = threads, .fill = Arena::Fill::poison});
    Tape tape(context, Mode::inference);
    Forward<float> forward{tape, batch.token, batch.segments};
    const auto y = model.logits(forward, model.hidden(forward)).value();
    return {y.values().begin(), y.values().end()};
}

/// A folder with the model's config and weights; `change` may edit the list of tensors.
template <class Change>
std::unique_ptr<Decoder<float>> through_files(Decoder<float>& model, const Change& change) {
    const io_test::TemporaryFolder folder;
    folder.write("config.json", write_json(to_json(model.config())));
    std::vector<StoredTensor<float>> tensors = model.stored_tensors();
    change(tensors);
    SafetensorsWriter writer;
    for (const auto& tensor : tensors) {
        const auto value = tensor.value();
        std::vector<Index> shape;
        for (int axis = 0; axis < value.shape().rank(); ++axis) shape.push_back(value.shape()[axis]);
        writer.add(tensor.name, StoredType::f32, shape, std::span<const float>(value.values()));
    }
    writer.save(folder.file("model.safetensors"));
    return load_model<float>(folder.path());
}

}  // namespace

TEST_CASE("decoder: every parameter once, under the names of the checkpoint") {
    for (const auto& config : {kLlama, kMixtral}) {
        const auto model = small_model<float>(config);
        const auto parameters = model->base_parameters();
        CHECK(std::set<Parameter<float>*>(parameters.begin(), parameters.end()).size() == parameters.size());
        std::set<std::string> names;
        Index stored = 0, values = 0;
        for (const auto& tensor : model->stored_tensors()) {
            CHECK(names.insert(tensor.name).second);
            stored += tensor.shape().size();
        }
        for (const auto* parameter : parameters) values += parameter->size();
        CHECK(stored == values);
        CHECK(names.count("model.layers.1.self_attn.o_proj.weight") == 1);
        CHECK(names.count("lm_head.weight") == 1);
        const char* feed_forward = config.is_mixture() ? "model.layers.0.block_sparse_moe.experts.3.w2.weight"
                                                       : "model.layers.0.mlp.down_proj.weight";
        CHECK(names.count(feed_forward) == 1);
    }
    ModelConfig tied = kLlama;
    tied.tie_word_embeddings = true;
    for (const auto& tensor : small_model<float>(tied)->stored_tensors())
        CHECK(tensor.name != "lm_head.weight");
}

TEST_CASE("decoder: a sample has the same logits, to the bit, alone and in any batch") {
    for (const auto& config : {kLlama, kMixtral}) {
        const auto model = small_model<float>(config);
        const auto data = ragged_samples(4, 48);
        const auto together = logits_of(*model, data, {3, 1, 2, 0}, 3);
        std::size_t at = 0;
        for (const std::int32_t pick : {3, 1, 2, 0}) {
            const auto alone = logits_of(*model, data, {pick});
            CHECK(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<std::ptrdiff_t>(at)));
            at += alone.size();
        }
        CHECK(at == together.size());
    }
}

TEST_CASE("decoder: a token sees nothing that comes after it") {
    const auto model = small_model<float>(kMixtral);
    const Dataset data{language_sample({4, 8, 15, 16, 23, 42}), language_sample({4, 8, 15, 16, 7, 1})};
    const auto one = logits_of(*model, data, {0}), other = logits_of(*model, data, {1});
    const auto same = 4 * 48;
    CHECK(std::equal(one.begin(), one.begin() + same, other.begin()));
    CHECK_FALSE(std::equal(one.begin() + same, one.end(), other.begin() + same));
}

TEST_CASE("decoder: random weights follow the config and the seed") {
    ModelConfig config = kLlama;
    config.vocab_size = 4000;
    const auto model = small_model<float>(config, 1), again = small_model<float>(config, 1),
               other = small_model<float>(config, 2);
    CHECK(hash_of(model->base_parameters()) == hash_of(again->base_parameters()));
    CHECK(hash_of(model->base_parameters()) != hash_of(other->base_parameters()));
    double sum = 0, squares = 0;
    const auto values = model->base_parameters().front()->value();
    for (float value : values.values()) {
        sum += static_cast<double>(value);
        squares += static_cast<double>(value) * static_cast<double>(value);
    }
    const double n = static_cast<double>(values.size());
    CHECK(std::abs(sum / n) < 4 * 0.15 / std::sqrt(n));
    CHECK(std::sqrt(squares / n) == doctest::Approx(0.15).epsilon(0.02));
    for (float value : model->layers()[1].post_norm.weight.value().values()) CHECK(value == 1);
    CHECK(model->layers()[0].attention.q.weight.value().data()[0] !=
          model->layers()[1].attention.q.weight.value().data()[0]);
}

TEST_CASE("decoder: written and read again, experts one by one or fused, it computes the same bits") {
    const auto data = ragged_samples(3, 48);
    for (const auto& config : {kLlama, kMixtral}) {
        const auto model = small_model<float>(config);
        const auto want = logits_of(*model, data, {0, 1, 2});
        CHECK(logits_of(*through_files(*model, [](auto&) {}), data, {0, 1, 2}) == want);
    }
    const auto model = small_model<float>(kMixtral);
    const auto want = logits_of(*model, data, {0, 1, 2});
    dynamic_cast<Mixtral<float>&>(*model).layout = ExpertLayout::fused;
    const auto fused = through_files(*model, [](auto&) {});
    CHECK(dynamic_cast<Mixtral<float>&>(*fused).layout == ExpertLayout::fused);
    CHECK(logits_of(*fused, data, {0, 1, 2}) == want);
}

TEST_CASE("decoder: a tensor too few, too many, or of another shape is refused by name") {
    const auto model = small_model<float>(kMixtral);
    const std::string w3 = "model.layers.1.block_sparse_moe.experts.2.w3.weight";
    const auto find = [&](auto& tensors) {
        return std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == w3; });
    };
    expect_error(ErrorCode::format, w3,
                 [&] { through_files(*model, [&](auto& all) { all.erase(find(all)); }); });
    expect_error(ErrorCode::format, "nobody.weight", [&] {
        through_files(*model, [&](auto& all) {
            all.push_back(all.front());
            all.back().name = "nobody.weight";
        });
    });
    expect_error(ErrorCode::shape, w3,
                 [&] { through_files(*model, [&](auto& all) { find(all)->end -= 1; }); });
    // A tied model may carry its head twice; nothing else may.
    ModelConfig tied = kLlama;
    tied.tie_word_embeddings = true;
    const auto twice = [](auto& all) {
        all.push_back(all.front());
        all.back().name = "lm_head.weight";
    };
    CHECK(through_files(*small_model<float>(tied), twice)->config().tie_word_embeddings);
}
