#pragma once
// A Llama, Mistral or Mixtral model in double and plain loops, with every rounding of bf16 visible. `stored` stands
// wherever a bf16 model on a GPU puts a number into memory, as the headers in cuda/ say behind "bf16:". What lies between
// is float there and double here: sums, scores and weights of attention, r of a norm, the whole router, routing weights,
// sigmoids, the lengths of DoRA. Only files, config and rotary frequencies come from the library.

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <moegrad/core/rope_table.hpp>

#include "support/rounded_weights.hpp"

namespace moegrad::test {

/// What a model says about tokens.
struct ModelPass {
    Doubles logits;                                           // [T, V]
    std::vector<Doubles> router;                              // of each layer [T, E]
    std::vector<std::vector<std::set<std::int32_t>>> routes;  // of each layer and token: its experts
};

class RoundedModel {
public:
    RoundedModel(const std::string& folder, const std::string& adapter, Rounded rounded)
        : weights_(folder, adapter, rounded), rounded_(rounded == Rounded::all) {}

    /// Sequences of S tokens, one after the other.
    ModelPass run(const std::vector<std::int32_t>& token, Index S) const {
        ModelPass pass;
        const auto embed = matrix("model.embed_tokens");
        auto x = Doubles::zeros({static_cast<Index>(token.size()), config().hidden_size});
        set_entries(x, [&](Index t, Index d) { return entry(embed, token[static_cast<std::size_t>(t)], d); });
        for (Index i = 0; i < config().num_hidden_layers; ++i) {
            const std::string layer = "model.layers." + std::to_string(i);
            x = add(x, attention(layer + ".self_attn", norm(layer + ".input_layernorm", x), S));
            const auto y = norm(layer + ".post_attention_layernorm", x);
            x = add(x, config().is_mixture()
                           ? mixture(layer + ".block_sparse_moe", y, pass)
                           : feed_forward(y, layer + ".mlp.gate_proj", layer + ".mlp.up_proj",
                                          layer + ".mlp.down_proj", LowRank::apart));
        }
        const std::string head = config().tie_word_embeddings ? "model.embed_tokens" : "lm_head";
        pass.logits = linear(norm("model.norm", x), head, LowRank::apart);
        return pass;
    }

private:
    const ModelConfig& config() const { return weights_.config; }
    double stored(double value) const { return rounded_ ? round_to_bf16(value) : value; }

    const Doubles& matrix(const std::string& module) const { return weights_.at_module(module).w; }

    static double dot(const Doubles& a, Index i, Index from_a, const Doubles& b, Index j, Index from_b,
                      Index n) {
        double sum = 0;
        for (Index d = 0; d < n; ++d) sum += entry(a, i, from_a + d) * entry(b, j, from_b + d);
        return sum;
    }
    /// x w^T; nothing is stored.
    static Doubles product(const Doubles& x, const Doubles& w) {
        const auto y = Doubles::zeros({x.extent(0), w.extent(0)});
        set_entries(y, [&](Index t, Index o) { return dot(x, t, 0, w, o, 0, x.extent(1)); });
        return y;
    }

    Doubles add(const Doubles& a, const Doubles& b) const {
        const auto y = Doubles::zeros(a.shape());
        set_entries(y, [&](Index t, Index d) { return stored(entry(a, t, d) + entry(b, t, d)); });
        return y;
    }

    Doubles norm(const std::string& module, const Doubles& x) const {
        const Index D = x.extent(1);
        const auto w = matrix(module), y = Doubles::zeros(x.shape());
        for (Index t = 0; t < x.extent(0); ++t) {
            const double mean = dot(x, t, 0, x, t, 0, D) / static_cast<double>(D),
                         r = 1 / std::sqrt(mean + config().rms_norm_eps);
            for (Index d = 0; d < D; ++d) entry(y, t, d) = stored(entry(x, t, d) * r * entry(w, 0, d));
        }
        return y;
    }

    /// How u B^T of an adapter meets x w^T. apart: two products, each stored, and their sum: Linears whose ranks are no
    /// multiple of 8, and every card before Hopper (cuda/support/low_rank.cuh). inside: one sum (experts).
    enum class LowRank { apart, inside };

    Doubles linear(const Doubles& x, const std::string& module, LowRank low) const {
        const RoundedLinear& l = weights_.at_module(module);
        const auto y = product(x, l.w);
        if (l.A.defined()) {
            REQUIRE(l.A.extent(0) % 8 != 0);
            const auto u = product(x, l.A);
            set_entries(u, [&](Index t, Index r) { return stored(l.scale * entry(u, t, r)); });
            const auto term = product(u, l.B);
            set_entries(y, [&](Index t, Index o) {
                return low == LowRank::apart ? stored(entry(y, t, o)) + stored(entry(term, t, o))
                                             : entry(y, t, o) + entry(term, t, o);
            });
        }
        set_entries(y, [&](Index t, Index o) { return stored(entry(y, t, o)); });
        if (l.factor.defined()) {
            set_entries(y, [&](Index t, Index o) { return stored(entry(l.factor, 0, o) * entry(y, t, o)); });
        }
        return y;
    }

    /// A dense block that runs as one expert (nn/fused_feed_forward.hpp) rounds the same on the way forward.
    Doubles feed_forward(const Doubles& x, const std::string& gate, const std::string& up,
                         const std::string& down, LowRank low) const {
        const auto g = linear(x, gate, low), u = linear(x, up, low), h = Doubles::zeros(g.shape());
        set_entries(h, [&](Index t, Index f) {
            return stored(entry(g, t, f) / (1 + std::exp(-entry(g, t, f))) * entry(u, t, f));
        });
        return linear(h, down, low);
    }

    /// Columns i and i + head/2 of every head are one pair.
    Doubles rope(const Doubles& x, Index S) const {
        const RopeConfig& c = config().rope;
        const auto kind = c.type == RopeType::llama3   ? RopeScaling::Kind::llama3
                          : c.type == RopeType::linear ? RopeScaling::Kind::linear
                                                       : RopeScaling::Kind::none;
        const auto original = static_cast<double>(c.original_max_position_embeddings);
        const auto frequency = rope_frequencies(
            config().head_dim, c.theta, {kind, c.factor, c.low_freq_factor, c.high_freq_factor, original});
        const Index half = config().head_dim / 2;
        const auto y = Doubles::zeros(x.shape());
        set_entries(y, [&](Index t, Index d) {
            const bool first = d / half % 2 == 0;
            const double angle = static_cast<double>(t % S) * frequency[static_cast<std::size_t>(d % half)],
                         turned = entry(x, t, first ? d + half : d - half) * std::sin(angle);
            return stored(entry(x, t, d) * std::cos(angle) + (first ? -turned : turned));
        });
        return y;
    }

    Doubles attention(const std::string& module, const Doubles& x, Index S) const {
        const auto project = [&](const char* name) { return linear(x, module + name, LowRank::apart); };
        const auto q = rope(project(".q_proj"), S), k = rope(project(".k_proj"), S), v = project(".v_proj");
        const Index head = config().head_dim, heads = config().num_attention_heads,
                    group = heads / config().num_key_value_heads,
                    window = config().sliding_window.value_or(S);
        const auto y = Doubles::zeros(q.shape());
        for (Index t = 0; t < x.extent(0); ++t) {
            for (Index h = 0; h < heads; ++h) {
                const Index key = h / group * head;
                double total = 0;
                for (Index s = std::max(t - t % S, t - window + 1); s <= t; ++s) {
                    const double p =
                        std::exp(dot(q, t, h * head, k, s, key, head) / std::sqrt(static_cast<double>(head)));
                    total += p;
                    for (Index d = 0; d < head; ++d) entry(y, t, h * head + d) += p * entry(v, s, key + d);
                }
                for (Index d = 0; d < head; ++d)
                    entry(y, t, h * head + d) = stored(entry(y, t, h * head + d) / total);
            }
        }
        return linear(y, module + ".o_proj", LowRank::apart);
    }

    /// What every expert says is stored, and then their weighted sum.
    Doubles mixture(const std::string& block, const Doubles& x, ModelPass& pass) const {
        const auto z = product(x, matrix(block + ".gate")), y = Doubles::zeros(x.shape()),
                   row = Doubles::zeros({1, x.extent(1)});
        auto& routes = pass.routes.emplace_back();
        pass.router.push_back(z);
        for (Index t = 0; t < x.extent(0); ++t) {
            set_entries(row, [&](Index, Index d) { return entry(x, t, d); });
            double total = 0;
            for (const std::int32_t e : routes.emplace_back(best(z, t))) {
                const std::string expert = block + ".experts." + std::to_string(e);
                const auto part =
                    feed_forward(row, expert + ".w1", expert + ".w3", expert + ".w2", LowRank::inside);
                const double weight = std::exp(entry(z, t, e));
                total += weight;
                for (Index d = 0; d < x.extent(1); ++d) entry(y, t, d) += weight * entry(part, 0, d);
            }
            for (Index d = 0; d < x.extent(1); ++d) entry(y, t, d) = stored(entry(y, t, d) / total);
        }
        return y;
    }

    /// The K largest of row t; of equal ones the lower.
    std::set<std::int32_t> best(const Doubles& z, Index t) const {
        std::set<std::int32_t> chosen;
        while (static_cast<Index>(chosen.size()) < config().num_experts_per_tok) {
            std::int32_t next = -1;
            for (std::int32_t e = 0; e < static_cast<std::int32_t>(z.extent(1)); ++e) {
                if (!chosen.contains(e) && (next < 0 || entry(z, t, e) > entry(z, t, next))) next = e;
            }
            chosen.insert(next);
        }
        return chosen;
    }

    RoundedWeights weights_;
    bool rounded_;
};

}  // namespace moegrad::test
