#pragma once
// Forward FLOPs of one token of a decoder, two per multiply-add:
//   attention of a layer   2 D (2 H + 2 Hkv) head  +  4 H head keys       keys: mean number of keys a token sees
//   feed-forward           6 D F experts                                  experts: true experts run per token
//   router of a layer      2 D E
//   head                   2 D V
// FLOPs saved = 1 - F(load) / F(top-k of the base). Adapters, null logits, norms and softmax are not counted: it is the
// measure of the AdaMoE tables, 0.882 (1 - load / 2) for Mixtral-8x7B on texts of 256 tokens.

#include <algorithm>

#include <moegrad/core/model_config.hpp>

namespace moegrad {

/// Keys seen by all tokens of one text: sum over t of min(t + 1, window).
inline double keys_seen(Index length, Index window = 0) {
    const Index full = window == 0 ? length : std::min(length, window);
    return static_cast<double>(full * (full + 1) / 2 + (length - full) * full);
}

inline double forward_flops(const ModelConfig& config, double keys, double experts) {
    const double D = static_cast<double>(config.hidden_size),
                 F = static_cast<double>(config.intermediate_size);
    const double H = static_cast<double>(config.num_attention_heads);
    const double Hkv = static_cast<double>(config.num_key_value_heads);
    const double head = static_cast<double>(config.head_dim), V = static_cast<double>(config.vocab_size);
    const double attention = 2 * D * (2 * H + 2 * Hkv) * head + 4 * H * head * keys;
    const double router = config.is_mixture() ? 2 * D * static_cast<double>(config.num_local_experts) : 0;
    return static_cast<double>(config.num_hidden_layers) * (attention + router + 6 * D * F * experts) +
           2 * D * V;
}

/// Of a model whose feed-forwards are mixtures; `load` is the mean number of true experts per token and layer.
inline double flops_saved(const ModelConfig& config, double keys, double load) {
    const double base = static_cast<double>(config.num_experts_per_tok);
    return 1 - forward_flops(config, keys, load) / forward_flops(config, keys, base);
}

}  // namespace moegrad
