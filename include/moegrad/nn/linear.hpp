#pragma once
// Linear: y = x W^T with W [O, D] as the checkpoint has it, no bias, and room for one adapter.
// The adapter is the first of the three places where a method attaches to a model (the others: a MoE layer's router,
// a feed-forward's branches).

#include <memory>
#include <string>
#include <vector>

#include <moegrad/nn/forward.hpp>
#include <moegrad/ops/linear.hpp>

namespace moegrad {

template <class Real>
class LinearAdapter {
public:
    virtual ~LinearAdapter() = default;
    /// The whole output, base product included: x [T, D], w [O, D] -> [T, O].
    virtual Var<Real> forward(Forward<Real>& forward, const Var<Real>& x, const Matrix<Real>& w) = 0;
    virtual std::vector<Parameter<Wide<Real>>*> parameters() = 0;
    /// The router, when the adapter has one.
    virtual AnyRouter<Wide<Real>>* router() { return nullptr; }
    /// Sets every dropout to 0.
    virtual void clear_dropout() {}
};

template <class Real>
struct Linear {
    Parameter<Real> weight;
    std::unique_ptr<LinearAdapter<Real>> adapter;

    Linear() = default;
    Linear(std::string name, Index out, Index in) : weight(std::move(name), Shape{out, in}) {}

    Var<Real> operator()(Forward<Real>& forward, const Var<Real>& x) {
        const auto w = matrix_of(weight);
        return adapter ? adapter->forward(forward, x, w) : linear(forward.tape, x, w);
    }

    /// The module's path: the weight's name without ".weight".
    std::string path() const { return weight.name().substr(0, weight.name().rfind(".weight")); }
};

}  // namespace moegrad
