#pragma once
// AdapterExperts: experts that are parallel adapters of width R, without biases.   PERFT (arXiv 2411.08212), adapter type.
//     E_e(h) = W2_e silu( drop_e( W1_e h ) ),   W1 [E, R, D], W2 [E, D, R],   y[t] = sum_k weight[t,k] E_{expert[t,k]}(h[t])
// The dropout lies between W1 and silu, as in the released code; that of a LoRA lies before A.

#include <string>
#include <utility>

#include <moegrad/nn/branch.hpp>
#include <moegrad/ops/combine.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/grouped_linear.hpp>
#include <moegrad/ops/swiglu.hpp>

namespace moegrad {

template <class Real>
class AdapterExperts final : public ExpertSet<Real> {
public:
    /// Zeros, named NAME.adapter_w1.weight and NAME.adapter_w2.weight. `dropout.module`: no two alike in a model.
    AdapterExperts(const std::string& name, Index E, Index R, Index D, const Dropout& dropout)
        : w1_(name + ".adapter_w1.weight", Shape{E, R, D}),
          w2_(name + ".adapter_w2.weight", Shape{E, D, R}),
          dropout_(dropout) {
        w1_.set_trainable(true);
        w2_.set_trainable(true);
    }

    Index count() const override { return w1_.shape()[0]; }

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Tensor<std::int32_t>& expert,
                      const Var<Wide<Real>>& weight) override {
        Tape& tape = forward.tape;
        const Index E = count();
        const auto plan = dispatch(tape, expert, E);
        const auto u = drop_rows(tape, grouped_linear(tape, x, w1_.use(), plan, RowSource::tokens), plan,
                                 forward.segments, dropout_);
        const Var<Real> ones(filled<Real>(tape, u.shape(), 1));
        const auto z = swiglu(tape, u, ones, plan.expert_begin.rows(E, E + 1));  // silu(u)
        return combine(tape, grouped_linear(tape, z, w2_.use(), plan, RowSource::rows), weight, plan);
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override { return {&w1_, &w2_}; }
    void clear_dropout() override { dropout_.rate = 0; }
    Parameter<Real>& w1() { return w1_; }
    Parameter<Real>& w2() { return w2_; }

private:
    Parameter<Real> w1_, w2_;
    Dropout dropout_;
};

}  // namespace moegrad
