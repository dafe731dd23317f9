#pragma once
// LoraExperts: experts that are a low-rank pair around the whole feed-forward.   PERFT (arXiv 2411.08212).
//     E_e(h) = s B_e A_e drop_e(h),   A [E, R, D], B [E, D, R],   y[t] = sum_k weight[t,k] E_{expert[t,k]}(h[t])

#include <utility>

#include <moegrad/autograd/lora_parameters.hpp>
#include <moegrad/nn/branch.hpp>
#include <moegrad/ops/combine.hpp>
#include <moegrad/ops/grouped_lora.hpp>

namespace moegrad {

template <class Real>
class LoraExperts final : public ExpertSet<Real> {
public:
    /// A stack over D features: A [E, R, D], B [E, D, R].
    explicit LoraExperts(LoraParameters<Real> lora) : lora_(std::move(lora)) {}

    Index count() const override { return lora_.A.shape()[0]; }

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Tensor<std::int32_t>& expert,
                      const Var<Wide<Real>>& weight) override {
        const auto plan = dispatch(forward.tape, expert, count());
        const LoraStack<Real> lora{lora_.A.use(), lora_.B.use(), lora_.scale, {lora_.dropout, lora_.module}};
        const auto h = grouped_lora(forward.tape, {}, x, plan, RowSource::tokens, lora, forward.segments);
        return combine(forward.tape, h, weight, plan);
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override { return {&lora_.A, &lora_.B}; }
    void clear_dropout() override { lora_.dropout = 0; }
    LoraParameters<Real>& lora() { return lora_; }

private:
    LoraParameters<Real> lora_;
};

}  // namespace moegrad
