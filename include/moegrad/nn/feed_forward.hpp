#pragma once
// FeedForward: the dense SwiGLU block, y = down( silu(gate(x)) * up(x) ).     Shazeer 2020 (arXiv 2002.05202).

#include <string>

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
          down(name + ".down_proj.weight", D, F) {}

    Var<Real> operator()(Forward<Real>& forward, const Var<Real>& x) {
        return down(forward, swiglu(forward.tape, gate(forward, x), up(forward, x)));
    }
};

}  // namespace moegrad
