#pragma once
// A parameter's numbers by hand, whatever their type and wherever they lie: for loading, saving and random starts, not
// for a step. A Parameter<Wide<Real>>* of a bf16 model may be a Parameter<bf16> (frozen: the bf16 copy alone; trainable:
// a float master and the copy) or a router's Parameter<float>.

#include <utility>

#include <moegrad/autograd/parameter.hpp>

namespace moegrad {

/// Throws for a weight in NF4.
template <class T>
void require_dense(const Parameter<T>& parameter) {
    if (!parameter.quantised().defined()) return;
    throw Error{ErrorCode::unsupported, parameter.name(), "a weight with its values", "one in NF4",
                "load the model without model.quantise"};
}

/// visit(tensor): what the model computes with, a Tensor<Real>, or Tensor<Wide<Real>> for a router's weight.
template <class Real, class Visit>
decltype(auto) visit_values(const Parameter<Wide<Real>>& parameter, Visit&& visit) {
    require_dense(parameter);
    if constexpr (!std::is_same_v<Real, Wide<Real>>) {
        if (parameter.number() == number_of<Real>()) return visit(parameter.compute_copy());
    }
    return visit(parameter.value());
}

/// On the host, the master where there is one. Shares memory with a parameter of Wide<Real> on the host.
template <class Real>
Tensor<Wide<Real>> host_values(const Parameter<Wide<Real>>& parameter) {
    if (parameter.value().defined()) return host(parameter.value());
    return visit_values<Real>(parameter, [](const auto& copy) { return widened(host(copy)); });
}

/// Writes master and copy, which is rounded to nearest.
template <class Real>
void set_values(Parameter<Wide<Real>>& parameter, const Tensor<Wide<Real>>& values) {
    const Tensor<Wide<Real>>& master = parameter.value();
    if (master.defined() && master.data() != values.data()) copy_values(values, master);
    if constexpr (!std::is_same_v<Real, Wide<Real>>) {
        if (parameter.number() != number_of<Real>()) return;
        auto rounded = Tensor<Real>::zeros(values.shape());
        std::transform(values.data(), values.data() + values.size(), rounded.data(),
                       [](Wide<Real> value) { return Real(value); });
        copy_values(rounded, parameter.compute_copy());
    }
}

/// change(values) in place, a dense host tensor [..] of the parameter's shape. Nothing while a plan is made.
template <class Real, class Change>
void change_values(Parameter<Wide<Real>>& parameter, const Change& change) {
    if (Planning::active()) return;
    const auto values = host_values<Real>(parameter);
    change(values);
    set_values<Real>(parameter, values);
}

}  // namespace moegrad
