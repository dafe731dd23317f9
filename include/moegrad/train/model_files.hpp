#pragma once
// A base model from a Hugging Face folder. Every tensor of the checkpoint is read exactly once into the place the
// family gives it, in the model's number type; a tensor nobody wants, or one that is missing, is an error.

#include <memory>
#include <string>

#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/io/model_config_json.hpp>
#include <moegrad/models/llama.hpp>
#include <moegrad/models/mixtral.hpp>

namespace moegrad {

/// An empty model of the family the config names.
template <class Real>
std::unique_ptr<Decoder<Real>> make_model(const ModelConfig& config) {
    if (config.is_mixture()) return std::make_unique<Mixtral<Real>>(config);
    return std::make_unique<Llama<Real>>(config);
}

/// Reads config.json and the weights of `folder`.
template <class Real>
std::unique_ptr<Decoder<Real>> load_model(const std::string& folder) {
    auto model = make_model<Real>(load_model_config(folder));
    CheckpointIndex files(folder);
    if (auto* mixtral = dynamic_cast<Mixtral<Real>*>(model.get())) {
        mixtral->layout = files.contains("model.layers.0.mlp.experts.gate_up_proj")
                              ? ExpertLayout::fused
                              : ExpertLayout::one_by_one;
    }
    for (const auto& stored : model->stored_tensors()) {
        const auto value = stored.value();
        const Shape shape = value.shape();
        std::vector<Index> extents;
        for (int axis = 0; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
        files.read(stored.name, extents, value.values());
    }
    // Some exporters write the tied head a second time.
    if (model->config().tie_word_embeddings && files.contains("lm_head.weight")) files.skip("lm_head.weight");
    files.require_all_read();
    return model;
}

}  // namespace moegrad
