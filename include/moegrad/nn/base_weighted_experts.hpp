#pragma once
// BaseWeightedExperts: experts beside those of a MoE layer, chosen by a router of their own and weighed by the layer's:
//     y[t] = sum_k weight[t,k] E_{j(t,k)}(x[t]),   j(t,k) the k-th choice of the own router, weight the layer's k-th
// It is what the released code of PERFT-R does on OLMoE in the place of its equation: the own router's weights are not
// used, so only its balance loss trains it. Here to compare with those numbers; it needs no more slots than the layer has.

#include <memory>
#include <string>
#include <utility>

#include <moegrad/nn/branch.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/take.hpp>
#include <moegrad/ops/top_k.hpp>

namespace moegrad {

template <class Real>
class BaseWeightedExperts final : public ExpertSet<Real> {
public:
    /// What a Branch would be. `module` of the layer keys the router's draws.
    BaseWeightedExperts(Branch<Real> branch, Index layer_experts)
        : branch_(std::move(branch)), layer_experts_(layer_experts) {}

    /// Of the layer, whose routing it gets.
    Index count() const override { return layer_experts_; }

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Tensor<std::int32_t>& expert,
                      const Var<Wide<Real>>& weight) override {
        auto routing = branch_.route(forward, x);
        const Index K = routing.expert.extent(1);
        if (K > expert.extent(1)) {
            throw Error{ErrorCode::config, branch_.name,
                        format("top_k of at most {}, the layer's slots", expert.extent(1)), format("{}", K)};
        }
        const auto first =
            top_k(forward.tape, filled<Wide<Real>>(forward.tape, expert.shape(), 1), K);  // 0, 1, .. K - 1
        auto y = branch_.experts->forward(forward, x, routing.expert, take(forward.tape, weight, first));
        forward.routings.push_back({branch_.name, branch_.layer, std::move(routing)});
        return y;
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override {
        auto all = branch_.router.parameters();
        for (auto* parameter : branch_.experts->parameters()) all.push_back(parameter);
        return all;
    }
    AnyRouter<Wide<Real>>* router() override { return &branch_.router; }
    std::string router_name() const override { return branch_.name; }
    void clear_dropout() override { branch_.experts->clear_dropout(); }

private:
    Branch<Real> branch_;
    Index layer_experts_;
};

}  // namespace moegrad
