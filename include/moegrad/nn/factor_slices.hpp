#pragma once
// FactorSlices: a dense feed-forward cut along its width into E slices that train, with the frozen whole as teacher,
//     y[t] = scale sum_{e in S} w[t,e] E_e(x[t])
// sum_e E_e(x) is the whole while the slices are untouched: SwiGLU works neuron by neuron, so any permutation of the
// neurons may be cut, if gate, up and down share it.                       FactorLLM, arXiv 2408.11855
// side: "prior", the slices that stand best for the teacher's output on this very x, the student's (the paper's code runs
// a stream of its own that is no model's activation). Only where the penalty "pa" has a coefficient: it costs all slices
// and the whole, forward.

#include <string>
#include <utility>

#include <moegrad/nn/branch.hpp>
#include <moegrad/nn/experts.hpp>
#include <moegrad/nn/feed_forward.hpp>
#include <moegrad/ops/combine.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/scale_columns.hpp>
#include <moegrad/ops/slice_prior.hpp>
#include <moegrad/ops/top_k.hpp>

namespace moegrad {

template <class Real>
class FactorSlices final : public ExpertSet<Real> {
public:
    Experts<Real> experts;
    FeedForward<Real>* teacher = nullptr;  // of the same layer, frozen
    double scale = 1;
    Index k = 1;
    SlicePrior prior = SlicePrior::slice_mse;
    bool learns_prior = true;

    FactorSlices(Experts<Real> slices, FeedForward<Real>& whole)
        : experts(std::move(slices)), teacher(&whole) {}

    Index count() const override { return experts.count(); }

    Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Tensor<std::int32_t>& expert,
                      const Var<Wide<Real>>& weight) override {
        const auto plan = dispatch(forward.tape, expert, experts.count());
        const Var<Wide<Real>> factor(filled<Wide<Real>>(forward.tape, {weight.extent(1)}, scale));
        return combine(forward.tape, experts(forward, x, plan), scale_columns(forward.tape, weight, factor),
                       plan);
    }

    SideInput<Real> side(Forward<Real>& forward, const Var<Real>& x) override {
        const auto* names = forward.penalty_names;
        if (!learns_prior || names == nullptr || coefficient_of(*names, "pa") < 0) return {};
        Tape aside(forward.tape.context(), Mode::inference);
        Forward<Real> alone{aside, forward.token, forward.segments};
        const Var<Real> value(x.value());
        const Index E = experts.count();
        // Equal scores come in the order of their columns: every slice for every token.
        const auto columns = top_k(aside, filled<Wide<Real>>(aside, {x.extent(0), E}, 0), E);
        const auto every = classify_slots<Wide<Real>>(aside, columns, forward.segments, E);
        const auto plan = dispatch(aside, every, E);
        const auto h = experts(alone, value, plan).value();
        const auto o = (*teacher)(alone, value).value();
        return {{"prior", slice_prior<Real>(aside, h, plan.slot_row, o, k, prior)}};
    }

    std::vector<Parameter<Wide<Real>>*> parameters() override { return experts.parameters(); }
};

}  // namespace moegrad
