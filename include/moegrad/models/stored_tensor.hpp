#pragma once
// StoredTensor: which part of a parameter a tensor of the checkpoint is. Experts are stacks here and may be stored one
// by one: "...experts.3.w1.weight" is rows [0, F) of matrix 3 of gate_up.

#include <string>
#include <vector>

#include <moegrad/autograd/parameter_values.hpp>

namespace moegrad {

namespace detail {

/// As files have them.
inline std::vector<Index> extents(const Shape& shape) {
    std::vector<Index> all;
    for (int axis = 0; axis < shape.rank(); ++axis) all.push_back(shape[axis]);
    return all;
}

}  // namespace detail

template <class Real>
struct StoredTensor {
    std::string name;
    Parameter<Wide<Real>>* parameter = nullptr;
    Index expert = -1;         // matrix of a stack; -1: the whole parameter
    Index begin = 0, end = 0;  // rows of that matrix; both 0: all

    /// The same part of any tensor of the parameter's shape: its value, its gradient.
    template <class T>
    Tensor<T> part(const Tensor<T>& whole) const {
        if (expert < 0) return whole;
        const auto matrix = whole.slice(expert);
        return end == 0 ? matrix : matrix.rows(begin, end);
    }
    /// visit(part) of what the model computes with (see visit_values), wherever it lies.
    template <class Visit>
    decltype(auto) visit(const Visit& visit) const {
        return visit_values<Real>(*parameter, [&](const auto& whole) { return visit(part(whole)); });
    }
    /// On the host and in Wide<Real>, from the master where there is one. For float and double on the host no copy.
    Tensor<Wide<Real>> value() const {
        require_dense(*parameter);
        if (parameter->value().defined()) return host(part(parameter->value()));
        return visit([](const auto& copy) { return widened(host(copy)); });
    }
    Shape shape() const {
        const Shape& whole = parameter->shape();
        if (expert < 0) return whole;
        return {end == 0 ? whole[1] : end - begin, whole[2]};
    }
};

/// The gradient over all uses of a parameter on the host, zeros where nothing was written. Not for the step: it waits.
template <class T>
Tensor<T> total_gradient(const Parameter<T>& parameter) {
    auto total = Tensor<T>::zeros(parameter.shape());
    for (const auto& gradient : parameter.gradients()) {
        if (!gradient->written()) continue;
        const auto one = host(gradient->tensor());
        const auto from = one.values();
        for (std::size_t i = 0; i < from.size(); ++i) total.values()[i] += from[i];
    }
    return total;
}

}  // namespace moegrad
