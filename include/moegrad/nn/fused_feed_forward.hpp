#pragma once
// The dense SwiGLU block as one expert with all rows (ops/expert_swiglu.hpp), on Hopper in bf16: gate and up are one product
// whose tiles end as h, dh becomes dz where it is made, x is read once for u and once for dA, and backward keeps z [T, 2F]
// in the place of gate, up and h.
//     [gate; up] [2F, D]: the two weights as they lie on the GPU (Parameter::put_before).
//     LoRA of both: A = [A_gate; A_up], B = [B_gate 0; 0 B_up]    (ops/stack_weights.hpp, as nn/experts.hpp has it)
// bf16, forward: what three Linears and swiglu round, and nothing else: u; z, which is gate and up; h; y. Backward: dz of a dh
// in float, du, h again, and dx, the sum over gate and up, once. Linears of their own round dh, and dx of up before dx of
// gate is added to it. dA and dB are float.

#include <optional>

#include <moegrad/nn/lora.hpp>
#include <moegrad/ops/expert_swiglu.hpp>
#include <moegrad/ops/stack_weights.hpp>

namespace moegrad {

/// Below a tile of rows the time goes into reading the weights, which cuBLASLt cuts into more pieces. Where the two meet is not
/// measured yet.
inline constexpr Index kFusedRows = 128;

/// The Linears of a dense block.
template <class Real>
struct FeedForwardParts {
    Linear<Real>&gate, &up, &down;

    /// Whether they may be one expert for x [T, D]: dense weights that do not learn, rows and ranks of whole 16 bytes; no adapter
    /// at all, or of every Linear plain LoRA that drops nothing in this call, gate's and up's of one rank and scale.
    bool fit(const Forward<Real>& forward, const Var<Real>& x) const {
        const bool whole = gate.weight.shape()[0] % 8 == 0 && gate.weight.shape()[1] % 8 == 0;
        if (!whole || !frozen(gate) || !frozen(up) || !frozen(down)) return false;
        if (!gate.adapter && !up.adapter && !down.adapter) return true;
        const Index T = x.extent(0);
        const auto *one = plain(forward, gate, T), *other = plain(forward, up, T);
        return one && other && plain(forward, down, T) && one->rank() == other->rank() &&
               one->scale == other->scale;
    }

    /// [1, 2F, D]; not defined where the two do not lie one behind the other.
    Tensor<Real> gate_up() const {
        const Tensor<Real> both = gate.weight.value().followed_by(up.weight.value());
        return both.defined() ? both.reshape({1, both.extent(0), both.extent(1)}) : both;
    }

    /// What the adapters of one or two Linears are to a stack of one; nothing where there is none.
    static std::optional<LoraStack<Real>> stack(Tape& tape, const Linear<Real>& first,
                                                const Linear<Real>* second = nullptr) {
        if (!first.adapter) return {};
        auto& lora = of(first);
        Weight<Real> A, B;
        if (second) A = of(*second).A.use(), B = of(*second).B.use();
        return LoraStack<Real>{stack_weights<Real>(tape, lora.A.use(), A, Stacking::below),
                               stack_weights<Real>(tape, lora.B.use(), B, Stacking::diagonal),
                               lora.scale,
                               {}};
    }

private:
    static bool frozen(const Linear<Real>& linear) {
        return !linear.weight.trainable() && !linear.weight.quantised().defined();
    }
    /// Of a Linear with plain LoRA.
    static LoraParameters<Real>& of(const Linear<Real>& linear) {
        return static_cast<Lora<Real>&>(*linear.adapter).lora();
    }
    static const LoraParameters<Real>* plain(const Forward<Real>& forward, const Linear<Real>& linear,
                                             Index T) {
        if (!dynamic_cast<Lora<Real>*>(linear.adapter.get())) return nullptr;
        const auto& its = of(linear);
        const Dropout dropout{its.dropout, its.module};
        const bool drops = active_dropout(forward.tape, dropout, forward.segments, T).rate > 0;
        return drops || its.rank() % 8 != 0 ? nullptr : &its;
    }
};

/// y as one expert makes it, for any number of rows; not defined where the parts do not fit. x [T, D].
template <class Real>
Var<Real> fused_feed_forward(Forward<Real>& forward, const Var<Real>& x, FeedForwardParts<Real> parts) {
    if constexpr (std::is_same_v<Real, bf16>) {
        Tape& tape = forward.tape;
        if (tape.context().target() != Device::cuda || !targets_hopper() || !parts.fit(forward, x)) return {};
        const Tensor<Real> gate_up = parts.gate_up();
        if (!gate_up.defined()) return {};
        const auto into = FeedForwardParts<Real>::stack(tape, parts.gate, &parts.up),
                   out = FeedForwardParts<Real>::stack(tape, parts.down);
        const Shape& down = parts.down.weight.shape();
        const Tensor<Real> w = parts.down.weight.value().reshape({1, down[0], down[1]});
        return expert_swiglu<Real>(tape, x, {Weight<Real>(gate_up), into ? &*into : nullptr},
                                   {Weight<Real>(w), out ? &*out : nullptr}, one_group(tape, x.extent(0)),
                                   forward.segments, RowSource::rows);
    } else {
        return {};
    }
}

}  // namespace moegrad
