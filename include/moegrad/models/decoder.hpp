#pragma once
// Decoder: the shape that Llama, Mistral and Mixtral share.
//     x = embed[token];   per layer  x += attention(norm(x));  x += feed_forward(norm(x));   hidden = norm(x)
//     logits = hidden W_head^T   (W_head is the embedding where they are tied)
// A feed-forward is an ordered sum of branches: the dense block where there is one, then the MoE layers.
// Parameters carry the names of the checkpoint; families say how stacks map to stored tensors.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/autograd/checkpoint.hpp>
#include <moegrad/core/model_config.hpp>
#include <moegrad/models/base_facts.hpp>
#include <moegrad/models/stored_tensor.hpp>
#include <moegrad/nn/attention.hpp>
#include <moegrad/nn/feed_forward.hpp>
#include <moegrad/nn/moe_layer.hpp>
#include <moegrad/nn/rms_norm.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/embedding.hpp>
#include <moegrad/ops/linear_cross_entropy.hpp>

namespace moegrad {

template <class Real>
struct DecoderLayer {
    int index = 0;
    RmsNorm<Real> input_norm;
    Attention<Real> attention;
    RmsNorm<Real> post_norm;
    std::optional<FeedForward<Real>> dense;
    std::vector<MoeLayer<Real>> moe;
    // What a method added: branches beside the feed-forward, or in its place; a hook around the whole layer.
    std::vector<Branch<Real>> branches = {};
    bool dense_replaced = false;  // a branch computes what the dense block did
    std::unique_ptr<LayerHook<Real>> hook = {};

    Var<Real> operator()(Forward<Real>& forward, const Var<Real>& x) {
        return hook ? hook->forward(forward, *this, x) : plain(forward, x);
    }

    Var<Real> plain(Forward<Real>& forward, const Var<Real>& x) {
        const auto h = add_on_read(forward.tape, x, attention(forward, input_norm(forward, x)));
        return add_feed_forwards(forward, h, h);
    }
    /// What the layer adds to x: plain(x) is x + update(x), to rounding.
    Var<Real> update(Forward<Real>& forward, const Var<Real>& x) {
        const auto a = attention(forward, input_norm(forward, x));
        return add_feed_forwards(forward, a, add_on_read(forward.tape, x, a));
    }
    /// y + every feed-forward of h.
    Var<Real> add_feed_forwards(Forward<Real>& forward, Var<Real> y, const Var<Real>& h) {
        const auto normed = post_norm(forward, h);
        if (dense && !dense_replaced) y = add_on_read(forward.tape, y, (*dense)(forward, normed));
        for (auto& branch : moe) y = add_on_read(forward.tape, y, branch(forward, normed));
        for (auto& branch : branches) y = add_on_read(forward.tape, y, branch(forward, normed));
        return y;
    }
};

/// Everything that methods added to a layer except routers and LoRA of its own Linears and experts.
template <class Real>
std::vector<Parameter<Wide<Real>>*> added_parameters(DecoderLayer<Real>& layer) {
    std::vector<Parameter<Wide<Real>>*> all;
    const auto take = [&all](const std::vector<Parameter<Wide<Real>>*>& some) {
        all.insert(all.end(), some.begin(), some.end());
    };
    for (auto& moe : layer.moe) {
        for (auto& set : moe.beside) take(set->parameters());
    }
    for (auto& branch : layer.branches) {
        take(branch.router.parameters());
        take(branch.experts->parameters());
    }
    if (layer.hook) take(layer.hook->parameters());
    return all;
}

/// Whether a layer's activations are kept for backward or computed a second time.
enum class Activations { kept, recomputed };

template <class Real>
class Decoder {
public:
    explicit Decoder(const ModelConfig& config)
        : config_(config),
          embed_("model.embed_tokens.weight", Shape{config.vocab_size, config.hidden_size}),
          norm_("model.norm.weight", config.hidden_size, config.rms_norm_eps) {
        if (!config.tie_word_embeddings) {
            head_ = Parameter<Real>("lm_head.weight", Shape{config.vocab_size, config.hidden_size});
        }
        const auto rope =
            std::make_shared<RopeTable<Wide<Real>>>(config.head_dim, config.rope.theta, scaling(config.rope));
        for (Index i = 0; i < config.num_hidden_layers; ++i) {
            const std::string name = "model.layers." + std::to_string(i);
            layers_.push_back(
                {.index = static_cast<int>(i),
                 .input_norm = {name + ".input_layernorm.weight", config.hidden_size, config.rms_norm_eps},
                 .attention = {name + ".self_attn", config.hidden_size, attention_options(config), rope},
                 .post_norm = {name + ".post_attention_layernorm.weight", config.hidden_size,
                               config.rms_norm_eps},
                 .dense = {},
                 .moe = {}});
        }
    }
    virtual ~Decoder() = default;
    Decoder(Decoder&&) = default;

    const ModelConfig& config() const { return config_; }
    std::vector<DecoderLayer<Real>>& layers() { return layers_; }
    Activations activations = Activations::kept;
    /// Of a model that was loaded onto a GPU, or in NF4.
    std::optional<BaseFacts> as_read;
    /// Whether the weights lie on a GPU.
    bool away() {
        return visit_values<Real>(embed_, [](const auto& weight) { return !weight.on_host(); });
    }

    /// [T, D], after the last norm.
    Var<Real> hidden(Forward<Real>& forward) {
        auto x = embedding(forward.tape, forward.token, embed_.use(0));
        for (auto& layer : layers_) {
            x = activations == Activations::recomputed && forward.tape.recording()
                    ? recomputed(forward, layer, x)
                    : layer(forward, x);
        }
        return norm_(forward, x);
    }
    /// hidden [T, D] -> [T, V]. For evaluation and generation; training uses `loss`.
    Var<Real> logits(Forward<Real>& forward, const Var<Real>& hidden) {
        return linear(forward.tape, hidden, head());
    }
    /// hidden [T, D], target [T] (-100: not supervised) -> negative log likelihood [T]; never all logits at once.
    /// supervised: the list of the supervised tokens that a target on a GPU needs.
    Var<Wide<Real>> loss(Forward<Real>& forward, const Var<Real>& hidden, const Tensor<std::int32_t>& target,
                         const Tensor<std::int32_t>& supervised = {}) {
        return linear_cross_entropy(forward.tape, hidden, head(), target, supervised);
    }

    /// Every weight of the base model as the checkpoint stores it.
    virtual std::vector<StoredTensor<Real>> stored_tensors() {
        std::vector<StoredTensor<Real>> all{whole(embed_)};
        for (auto& layer : layers_) {
            for (auto* p : {&layer.input_norm.weight, &layer.attention.q.weight, &layer.attention.k.weight,
                            &layer.attention.v.weight, &layer.attention.o.weight, &layer.post_norm.weight}) {
                all.push_back(whole(*p));
            }
            if (layer.dense) {
                for (auto* p :
                     {&layer.dense->gate.weight, &layer.dense->up.weight, &layer.dense->down.weight}) {
                    all.push_back(whole(*p));
                }
            }
        }
        all.push_back(whole(norm_.weight));
        if (head_.defined()) all.push_back(whole(head_));
        return all;
    }

    /// The base's parameters, each once.
    std::vector<Parameter<Wide<Real>>*> base_parameters() {
        std::vector<Parameter<Wide<Real>>*> all;
        for (auto& stored : stored_tensors()) {
            if (all.empty() || all.back() != stored.parameter) all.push_back(stored.parameter);
        }
        return all;
    }

    /// Every Linear that can take an adapter, by its name inside the layer: "q_proj" ... "down_proj".
    std::vector<std::pair<std::string, Linear<Real>*>> linears(DecoderLayer<Real>& layer) {
        std::vector<std::pair<std::string, Linear<Real>*>> all{{"q_proj", &layer.attention.q},
                                                               {"k_proj", &layer.attention.k},
                                                               {"v_proj", &layer.attention.v},
                                                               {"o_proj", &layer.attention.o}};
        if (layer.dense) {
            all.insert(all.end(), {{"gate_proj", &layer.dense->gate},
                                   {"up_proj", &layer.dense->up},
                                   {"down_proj", &layer.dense->down}});
        }
        return all;
    }

    /// Random weights for pretraining: normal with `initializer_range`, norms 1.
    void initialize(std::uint64_t seed) {
        std::uint64_t stream = 0;
        for (auto* parameter : base_parameters()) {
            change_values<Real>(*parameter, [&](const Tensor<Wide<Real>>& values) {
                if (values.shape().rank() == 1) {
                    std::fill(values.values().begin(), values.values().end(), Wide<Real>(1));
                } else {
                    fill_normal(values, config_.initializer_range, seed, stream);
                }
            });
            ++stream;
        }
    }

protected:
    static StoredTensor<Real> whole(Parameter<Wide<Real>>& parameter) {
        return {parameter.name(), &parameter};
    }

private:
    Weight<Real> head() { return head_.defined() ? head_.use(0) : embed_.use(1); }

    static RopeScaling scaling(const RopeConfig& rope) {
        RopeScaling s;
        s.kind = rope.type == RopeType::llama3   ? RopeScaling::Kind::llama3
                 : rope.type == RopeType::linear ? RopeScaling::Kind::linear
                                                 : RopeScaling::Kind::none;
        s.factor = rope.factor;
        s.low_freq_factor = rope.low_freq_factor;
        s.high_freq_factor = rope.high_freq_factor;
        s.original_max_position = static_cast<double>(rope.original_max_position_embeddings);
        return s;
    }
    static AttentionOptions attention_options(const ModelConfig& config) {
        return {.heads = config.num_attention_heads,
                .kv_heads = config.num_key_value_heads,
                .head_dim = config.head_dim,
                .scale = 0,
                .window = config.sliding_window.value_or(0)};
    }

    /// The layer runs again in backward. The replay has penalties of its own and seeds them; those of the first run
    /// carry values only.
    Var<Real> recomputed(Forward<Real>& forward, DecoderLayer<Real>& layer, const Var<Real>& x) {
        const std::vector<std::string> names =
            forward.penalty_names ? *forward.penalty_names : std::vector<std::string>();
        return checkpoint(forward.tape, x,
                          [&forward, &layer, token = forward.token, segments = forward.segments, names](
                              Tape& tape, const Var<Real>& input) {
                              Forward<Real> inner{tape, token, segments, {}, &names};
                              auto y = layer(inner, input);
                              if (tape.recording()) {
                                  seed_penalties(inner);
                              } else {
                                  for (auto& record : inner.routings)
                                      forward.routings.push_back(std::move(record));
                              }
                              return y;
                          });
    }

    ModelConfig config_;
    Parameter<Real> embed_;
    std::vector<DecoderLayer<Real>> layers_;
    RmsNorm<Real> norm_;
    Parameter<Real> head_;
};

}  // namespace moegrad
