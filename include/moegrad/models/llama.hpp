#pragma once
// Llama: the decoder with a dense SwiGLU feed-forward. Mistral is the same with a sliding window in its config.
// Touvron et al. 2023; Jiang et al. 2023.

#include <moegrad/models/decoder.hpp>

namespace moegrad {

template <class Real>
class Llama final : public Decoder<Real> {
public:
    explicit Llama(const ModelConfig& config) : Decoder<Real>(config) {
        for (auto& layer : this->layers()) {
            layer.dense.emplace("model.layers." + std::to_string(layer.index) + ".mlp", config.hidden_size,
                                config.intermediate_size);
        }
    }
};

}  // namespace moegrad
