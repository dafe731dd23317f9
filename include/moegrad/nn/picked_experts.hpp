#pragma once
// PickedExperts: n of a MoE layer's E experts as a stack of their own, under the layer's routing,
//     y[t] = sum_{k: expert[t,k] among the picked} weight[t,k] E_{expert[t,k]}(x[t])
// The layer's stack runs the others (MoeLayer::own). Gradients and moments are those of n experts, not of E.

#include <memory>
#include <utility>

#include <moegrad/nn/branch.hpp>
#include <moegrad/nn/experts.hpp>
#include <moegrad/ops/combine.hpp>
#include <moegrad/ops/remap_slots.hpp>

namespace moegrad {

template <class Real>
class PickedExperts final : public ExpertSet<Real> {
public:
    Experts<Real> experts;  // [n, ..]

    /// own.to[e]: the place in `experts` of the layer's expert e, kUnused for those that are not here.
    PickedExperts(Experts<Real> picked, SlotTable table) : experts(std::move(picked)), table_(table) {}

    Index count() const override { return table_.size; }

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Tensor<std::int32_t>& expert,
                      const Var<Wide<Real>>& weight) override {
        const auto local = remap_slots(forward.tape, expert, table_);
        const Index most = std::min(experts.count(), expert.extent(1));  // slots of a token that can be here
        const auto plan = dispatch(forward.tape, local, experts.count(), x.extent(0) * most);
        return combine(forward.tape, experts(forward, x, plan), weight, plan);
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override { return experts.parameters(); }
    void clear_dropout() override { experts.gate_up_lora.dropout = experts.down_lora.dropout = 0; }

private:
    SlotTable table_;
};

}  // namespace moegrad
