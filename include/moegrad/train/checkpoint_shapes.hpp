#pragma once
// What a checkpoint must hold, from config.json alone: names and shapes, no model built and nothing allocated by a
// number that the files do not back. Both directions are checked before the first weight is read.

#include <optional>
#include <set>
#include <string>
#include <vector>

#include <moegrad/core/model_config.hpp>
#include <moegrad/io/checkpoint_index.hpp>

namespace moegrad {

struct ExpectedTensor {
    std::string name;
    std::vector<Index> shape;
};

namespace detail {

/// each(tensor) returns whether to go on.
template <class Each>
bool each_expert_tensor(const ModelConfig& config, const std::string& layer, bool fused, Each& each) {
    const Index D = config.hidden_size, F = config.intermediate_size, E = config.num_local_experts;
    if (fused) {
        const std::string moe = layer + ".mlp.";
        return each({moe + "gate.weight", {E, D}}) && each({moe + "experts.gate_up_proj", {E, 2 * F, D}}) &&
               each({moe + "experts.down_proj", {E, D, F}});
    }
    const std::string moe = layer + ".block_sparse_moe.";
    bool go_on = each({moe + "gate.weight", {E, D}});
    for (Index e = 0; go_on && e < E; ++e) {
        const std::string expert = moe + "experts." + std::to_string(e);
        go_on = each({expert + ".w1.weight", {F, D}}) && each({expert + ".w2.weight", {D, F}}) &&
                each({expert + ".w3.weight", {F, D}});
    }
    return go_on;
}

template <class Each>
void each_expected_tensor(const ModelConfig& config, bool fused, Each each) {
    const Index D = config.hidden_size, V = config.vocab_size, F = config.intermediate_size;
    const Index Q = config.num_attention_heads * config.head_dim,
                KV = config.num_key_value_heads * config.head_dim;
    bool go_on = each({"model.embed_tokens.weight", {V, D}}) && each({"model.norm.weight", {D}});
    if (go_on && !config.tie_word_embeddings) go_on = each({"lm_head.weight", {V, D}});
    for (Index l = 0; go_on && l < config.num_hidden_layers; ++l) {
        const std::string layer = "model.layers." + std::to_string(l);
        go_on = each({layer + ".input_layernorm.weight", {D}}) &&
                each({layer + ".self_attn.q_proj.weight", {Q, D}}) &&
                each({layer + ".self_attn.k_proj.weight", {KV, D}}) &&
                each({layer + ".self_attn.v_proj.weight", {KV, D}}) &&
                each({layer + ".self_attn.o_proj.weight", {D, Q}}) &&
                each({layer + ".post_attention_layernorm.weight", {D}});
        if (!go_on) break;
        go_on = config.is_mixture() ? each_expert_tensor(config, layer, fused, each)
                                    : each({layer + ".mlp.gate_proj.weight", {F, D}}) &&
                                          each({layer + ".mlp.up_proj.weight", {F, D}}) &&
                                          each({layer + ".mlp.down_proj.weight", {D, F}});
    }
}

}  // namespace detail

/// Whether the experts of a checkpoint are stored as stacks (transformers 5) or one by one.
inline bool has_fused_experts(const CheckpointIndex& files) {
    return files.contains("model.layers.0.mlp.experts.gate_up_proj");
}

/// How files and configuration differ; all empty when they fit.
struct CheckpointDifference {
    std::vector<std::string> missing, unused;
    bool more_missing = false;                // the list was cut
    std::optional<ExpectedTensor> misshapen;  // the first one of another shape

    bool fits() const { return missing.empty() && unused.empty() && !misshapen; }
};

inline CheckpointDifference compare_checkpoint(const ModelConfig& config, const CheckpointIndex& files) {
    constexpr std::size_t kMostMissing = 1000;
    CheckpointDifference out;
    std::set<std::string> wanted;
    detail::each_expected_tensor(config, has_fused_experts(files), [&](ExpectedTensor one) {
        if (!files.contains(one.name)) {
            out.missing.push_back(one.name);
            out.more_missing = out.missing.size() == kMostMissing;
            return !out.more_missing;
        }
        if (!out.misshapen && files.info(one.name).shape != one.shape) out.misshapen = one;
        wanted.insert(std::move(one.name));
        return true;
    });
    if (out.more_missing) return out;
    // Some exporters write the tied head a second time.
    if (config.tie_word_embeddings) wanted.insert("lm_head.weight");
    for (const std::string& name : files.names()) {
        if (!wanted.contains(name)) out.unused.push_back(name);
    }
    return out;
}

/// Throws unless every tensor of the configuration is there in its shape, and no other.
inline void require_same_checkpoint(const ModelConfig& config, const CheckpointIndex& files) {
    const CheckpointDifference difference = compare_checkpoint(config, files);
    if (difference.fits()) return;
    if (difference.missing.empty() && difference.unused.empty()) {
        const ExpectedTensor& want = *difference.misshapen;
        throw Error{ErrorCode::shape, moegrad::format("{}: tensor {}", files.folder(), want.name),
                    shape_text(want.shape), shape_text(files.info(want.name).shape),
                    "do config.json and the weights belong together?"};
    }
    std::string got;
    if (!difference.missing.empty())
        got = moegrad::format("{}{} missing: {}", difference.more_missing ? "at least " : "",
                              difference.missing.size(), list_names(difference.missing));
    if (!difference.unused.empty())
        got += moegrad::format("{}{} unused: {}", got.empty() ? "" : "; ", difference.unused.size(),
                               list_names(difference.unused));
    throw Error{ErrorCode::format, files.folder(), "every tensor of the model once, and no others", got,
                "does model_type in config.json fit the weights?"};
}

}  // namespace moegrad
