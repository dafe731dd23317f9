#pragma once
// MixLoraExperts: E feed-forwards that share one frozen SwiGLU block and differ by three LoRAs each.   Li et al. 2024
// (arXiv 2404.15159), Eq. 4-7, W1 = gate, W3 = up, W2 = down.
//     u_e = W1 x + s B1_e A1_e drop(x),   v_e = W3 x + s B3_e A3_e drop(x),   h_e = silu(u_e) v_e
//     E_e(x) = W2 h_e + s B2_e A2_e drop(h_e),   y[t] = sum_k weight[t,k] E_{expert[t,k]}(x[t])
// W1 x and W3 x are computed once per token and gathered; W2 runs once on the weighted sum of the h_e, which is the same
// sum:  y = W2 (sum_k w h) + sum_k w s B2 A2 drop(h).
// With B = 0 and weights that sum to 1 y is the dense block's; with one expert of weight 1 it is LoRA on its three Linears.
// A token without an expert gets 0: its residual alone.

#include <string>
#include <vector>

#include <moegrad/autograd/lora_parameters.hpp>
#include <moegrad/nn/branch.hpp>
#include <moegrad/nn/feed_forward.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/combine.hpp>
#include <moegrad/ops/grouped_lora.hpp>

namespace moegrad {

template <class Real>
class MixLoraExperts final : public ExpertSet<Real> {
public:
    /// LoRA of the dense block's Linears, a stack of E each. `dense` must outlive this.
    struct Adapters {
        LoraParameters<Real> gate, up, down;
    };
    MixLoraExperts(FeedForward<Real>& dense, Adapters adapters)
        : dense_(&dense), adapters_(std::move(adapters)) {}

    Index count() const override { return adapters_.gate.A.shape()[0]; }

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Tensor<std::int32_t>& expert,
                      const Var<Wide<Real>>& weight) override {
        Tape& tape = forward.tape;
        const auto plan = dispatch(tape, expert, count());
        const auto adapted = [&](const Var<Real>& base, const Var<Real>& in, RowSource source,
                                 LoraParameters<Real>& lora) {
            const LoraStack<Real> stack{lora.A.use(), lora.B.use(), lora.scale, {lora.dropout, lora.module}};
            return grouped_lora(tape, base, in, plan, source, stack, forward.segments);
        };
        const auto u = adapted(dense_->gate(forward, x), x, RowSource::tokens, adapters_.gate);
        const auto v = adapted(dense_->up(forward, x), x, RowSource::tokens, adapters_.up);
        const auto h = swiglu(tape, u, v, plan.expert_begin.rows(count(), count() + 1));
        const auto own = adapted({}, h, RowSource::rows, adapters_.down);
        return add(tape, dense_->down(forward, combine(tape, h, weight, plan)),
                   combine(tape, own, weight, plan));
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override {
        auto& [gate, up, down] = adapters_;
        return {&gate.A, &gate.B, &up.A, &up.B, &down.A, &down.B};
    }
    void clear_dropout() override {
        for (auto* lora : {&adapters_.gate, &adapters_.up, &adapters_.down}) lora->dropout = 0;
    }

private:
    FeedForward<Real>* dense_;
    Adapters adapters_;
};

}  // namespace moegrad
