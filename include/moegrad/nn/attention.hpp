#pragma once
// Attention: q, k, v projections, rotary positions, causal grouped-query attention, output projection.
//   y = o( attention( rope(q(x)), rope(k(x)), v(x) ) )        x, y [T, D];  q [T, H head];  k, v [T, Hkv head]

#include <memory>
#include <string>

#include <moegrad/nn/linear.hpp>
#include <moegrad/ops/attention.hpp>
#include <moegrad/ops/rope.hpp>

namespace moegrad {

template <class Real>
struct Attention {
    Linear<Real> q, k, v, o;
    AttentionOptions options;
    std::shared_ptr<RopeTable<Wide<Real>>> rope;  // one table for all layers

    Attention() = default;
    /// `name` is the module's path, "model.layers.0.self_attn".
    Attention(const std::string& name, Index D, const AttentionOptions& options_,
              std::shared_ptr<RopeTable<Wide<Real>>> rope_)
        : q(name + ".q_proj.weight", options_.heads * options_.head_dim, D),
          k(name + ".k_proj.weight", options_.kv_heads * options_.head_dim, D),
          v(name + ".v_proj.weight", options_.kv_heads * options_.head_dim, D),
          o(name + ".o_proj.weight", D, options_.heads * options_.head_dim),
          options(options_),
          rope(std::move(rope_)) {}

    Var<Real> operator()(Forward<Real>& forward, const Var<Real>& x) {
        const auto queries = moegrad::rope(forward.tape, q(forward, x), *rope, forward.segments);
        const auto keys = moegrad::rope(forward.tape, k(forward, x), *rope, forward.segments);
        const auto values = v(forward, x);
        if (forward.cache != nullptr) {
            return o(forward,
                     forward.cache->attend(forward.tape, queries, keys, values, forward.segments, options));
        }
        return o(forward, attention(forward.tape, queries, keys, values, forward.segments, options));
    }
};

}  // namespace moegrad
