#pragma once
// A base model from a Hugging Face folder. Every tensor of the checkpoint is read exactly once into the place the
// family gives it, in the model's number type; a tensor nobody wants, or one that is missing, is an error, found before
// anything is allocated. Pages of a file go back as soon as they are read, so nothing is held twice.

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/io/model_config_json.hpp>
#include <moegrad/models/llama.hpp>
#include <moegrad/models/mixtral.hpp>
#include <moegrad/train/checkpoint_shapes.hpp>

namespace moegrad {

/// An empty model of the family the config names.
template <class Real>
std::unique_ptr<Decoder<Real>> make_model(const ModelConfig& config) {
    if (config.is_mixture()) return std::make_unique<Mixtral<Real>>(config);
    return std::make_unique<Llama<Real>>(config);
}

namespace detail {

/// A tied head that is stored all the same must be the embedding.
template <class Real>
void check_tied_head(CheckpointIndex& files, Decoder<Real>& model) {
    const std::string name = "lm_head.weight";
    if (!model.config().tie_word_embeddings || !files.contains(name)) return;
    const std::vector<Index> shape{model.config().vocab_size, model.config().hidden_size};
    const auto embedding = model.stored_tensors().front().value().values();
    std::vector<Real> head(embedding.size());
    files.read(name, shape, std::span<Real>(head));
    const auto same = [](Real a, Real b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    const auto [ours, theirs] = std::mismatch(embedding.begin(), embedding.end(), head.begin(), same);
    if (ours == embedding.end()) return;
    const auto row = static_cast<Index>(ours - embedding.begin()) / model.config().hidden_size;
    throw Error{ErrorCode::format, format("{}: tensor {}", files.folder(), name),
                "the numbers of model.embed_tokens.weight, for tie_word_embeddings is true",
                format("another value in row {}", row),
                "set tie_word_embeddings to false in config.json if the head is its own"};
}

}  // namespace detail

/// Reads config.json and the weights of `folder`.
template <class Real>
std::unique_ptr<Decoder<Real>> load_model(const std::string& folder) {
    const ModelConfig config = load_model_config(folder);
    CheckpointIndex files(folder);
    require_same_checkpoint(config, files);
    auto model = make_model<Real>(config);
    if (auto* mixtral = dynamic_cast<Mixtral<Real>*>(model.get())) {
        mixtral->layout = has_fused_experts(files) ? ExpertLayout::fused : ExpertLayout::one_by_one;
    }
    for (const auto& stored : model->stored_tensors()) {
        const auto value = stored.value();
        const Shape shape = value.shape();
        std::vector<Index> extents;
        for (int axis = 0; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
        files.read(stored.name, extents, value.values());
    }
    detail::check_tied_head(files, *model);
    files.require_all_read();
    return model;
}

/// NaN and infinite values of a model's weights.
struct NonFiniteCount {
    Index nan = 0, infinite = 0;
    std::vector<std::string> tensors;  // that have any

    Index total() const { return nan + infinite; }
};

template <class Real>
NonFiniteCount count_nonfinite(Decoder<Real>& model) {
    NonFiniteCount count;
    for (const auto& stored : model.stored_tensors()) {
        const Index before = count.total();
        for (const Real value : stored.value().values()) {
            if (std::isfinite(value)) continue;
            ++(std::isnan(value) ? count.nan : count.infinite);
        }
        if (count.total() > before) count.tensors.push_back(stored.name);
    }
    return count;
}

/// For training: refuses weights that are no numbers, unless the run says that it wants them (model.allow_nonfinite).
template <class Real>
NonFiniteCount require_finite(Decoder<Real>& model, const std::string& folder, bool allow_nonfinite) {
    NonFiniteCount count = count_nonfinite(model);
    if (count.total() == 0 || allow_nonfinite) return count;
    throw Error{ErrorCode::value, folder, "finite weights",
                format("{} NaN and {} infinite in {} tensors: {}", count.nan, count.infinite,
                       count.tensors.size(), list_names(count.tensors)),
                "the checkpoint is damaged; model.allow_nonfinite = true trains on it all the same"};
}

}  // namespace moegrad
