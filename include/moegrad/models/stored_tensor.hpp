#pragma once
// StoredTensor: which part of a parameter a tensor of the checkpoint is. Experts are stacks here and may be stored one
// by one: "...experts.3.w1.weight" is rows [0, F) of matrix 3 of gate_up.

#include <string>

#include <moegrad/autograd/parameter.hpp>

namespace moegrad {

template <class Real>
struct StoredTensor {
    std::string name;
    Parameter<Wide<Real>>* parameter = nullptr;
    Index expert = -1;         // matrix of a stack; -1: the whole parameter
    Index begin = 0, end = 0;  // rows of that matrix; both 0: all

    /// The same part of any tensor of the parameter's shape: its value, its gradient.
    Tensor<Real> part(const Tensor<Real>& whole) const {
        if (expert < 0) return whole;
        const auto matrix = whole.slice(expert);
        return end == 0 ? matrix : matrix.rows(begin, end);
    }
    Tensor<Real> value() const { return part(parameter->value()); }
    Shape shape() const { return value().shape(); }
};

/// The gradient over all uses of a parameter, zeros where nothing was written. Not for the step: it allocates.
template <class Real>
Tensor<Real> total_gradient(const Parameter<Real>& parameter) {
    auto total = Tensor<Real>::zeros(parameter.shape());
    for (const auto& gradient : parameter.gradients()) {
        if (!gradient->written()) continue;
        const auto from = gradient->tensor().values();
        for (std::size_t i = 0; i < from.size(); ++i) total.values()[i] += from[i];
    }
    return total;
}

}  // namespace moegrad
