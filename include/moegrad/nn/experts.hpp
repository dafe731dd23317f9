#pragma once
// Experts: E SwiGLU feed-forwards as two stacks, run on the rows a dispatch plan gives each of them.
//     h[n] = down_e( silu(gate_e x) * up_e x ),   e = expert of row n,   x = its token
// gate_up [E, 2F, D] holds the gate's rows above the up's (w1 above w3), down [E, D, F] is w2: the layout of fused
// checkpoints, and of PEFT's fused LoRA: one A [E, R, D] for gate and up together, B [E, 2F, R].
// LoRA of single modules (w1 and w3 with an A each) is the same with rank 2R: A holds both, one below the other, and the
// two blocks of B that would mix them stay zero and never train.
// A row's bits depend on that row alone. Null slots cost no row.

#include <optional>
#include <string>
#include <vector>

#include <moegrad/autograd/lora_parameters.hpp>
#include <moegrad/nn/forward.hpp>
#include <moegrad/ops/expert_swiglu.hpp>

namespace moegrad {

/// What an adapter of the experts is attached to: the fused stacks, or w1, w2 and w3 of every expert.
enum class LoraModules { fused, single };

/// LoRA of w1 and w3 as modules of their own, an A of rank R each, for a stack of E.
template <class Real>
LoraParameters<Real> gate_and_up_lora(const std::string& name, Index E, Index F, Index D,
                                      const LoraOptions& options, std::uint64_t seed, std::uint32_t module) {
    const Index R = options.rank;
    LoraOptions twice = options;
    twice.rank = 2 * R;
    LoraParameters<Real> lora(name, E, 2 * F, D, twice, seed, module);
    lora.scale = options.factor();
    lora.B.freeze_block({0, F, R, 2 * R});
    lora.B.freeze_block({F, 2 * F, 0, R});
    return lora;
}

template <class Real>
struct Experts {
    Parameter<Real> gate_up;  // [E, 2F, D]
    Parameter<Real> down;     // [E, D, F]
    LoraParameters<Real> gate_up_lora, down_lora;
    LoraModules lora_modules = LoraModules::fused;

    Experts() = default;
    /// `name` is the module's path, "model.layers.0.mlp.experts".
    Experts(const std::string& name, Index E, Index D, Index F)
        : gate_up(name + ".gate_up_proj", Shape{E, 2 * F, D}), down(name + ".down_proj", Shape{E, D, F}) {}

    Index count() const { return gate_up.shape()[0]; }
    Index width() const { return down.shape()[2]; }

    /// x [T, D] -> h [T K, D], of which the plan's N rows count.
    Var<Real> operator()(Forward<Real>& forward, const Var<Real>& x, const DispatchPlan& plan) {
        const Adapted up(gate_up, gate_up_lora), out(down, down_lora);
        return expert_swiglu(forward.tape, x, up.stack(), out.stack(), plan, forward.segments);
    }

    std::vector<Parameter<Wide<Real>>*> parameters() {
        std::vector<Parameter<Wide<Real>>*> all{&gate_up, &down};
        if (gate_up_lora.defined()) all.insert(all.end(), {&gate_up_lora.A, &gate_up_lora.B});
        if (down_lora.defined()) all.insert(all.end(), {&down_lora.A, &down_lora.B});
        return all;
    }

private:
    /// One use of a weight and of its adapter.
    struct Adapted {
        Matrix<Real> weight;
        std::optional<LoraStack<Real>> lora;

        Adapted(Parameter<Real>& parameter, LoraParameters<Real>& adapter) : weight(matrix_of(parameter)) {
            if (!adapter.defined()) return;
            lora = LoraStack<Real>{
                adapter.A.use(), adapter.B.use(), adapter.scale, {adapter.dropout, adapter.module}};
        }
        AdaptedStack<Real> stack() const { return {weight, lora ? &*lora : nullptr}; }
    };
};

}  // namespace moegrad
