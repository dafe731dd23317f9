#pragma once
// FeedForward: the dense SwiGLU block, y = down( silu(gate(x)) * up(x) ).     Shazeer 2020 (arXiv 2002.05202).
// On Hopper in bf16 as one op where its parts allow it (fused_feed_forward.hpp), else three Linears and swiglu.

#include <string>

#include <moegrad/nn/fused_feed_forward.hpp>
#include <moegrad/nn/linear.hpp>
#include <moegrad/ops/swiglu.hpp>

namespace moegrad {

template <class Real>
struct FeedForward {
    Linear<Real> gate, up, down;

    FeedForward() = default;
    /// `name` is the module's path, "model.layers.0.mlp".
    FeedForward(const std::string& name, Index D, Index F)
        : gate(name + ".gate_proj.weight", F, D),
          up(name + ".up_proj.weight", F, D),
          down(name + ".down_proj.weight", D, F) {
        if constexpr (std::is_same_v<Real, bf16>) gate.weight.put_before(up.weight);
    }

    Var<Real> operator()(Forward<Real>& forward, const Var<Real>& x) {
        if (x.extent(0) >= kFusedRows) {
            auto y = fused_feed_forward<Real>(forward, x, {gate, up, down});
            if (y.defined()) return y;
        }
        return down(forward, swiglu(forward.tape, gate(forward, x), up(forward, x)));
    }
};

}  // namespace moegrad
