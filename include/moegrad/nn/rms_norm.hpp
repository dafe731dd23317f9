#pragma once
// RmsNorm: ops/rms_norm.hpp with its weight [D].

#include <string>

#include <moegrad/nn/forward.hpp>
#include <moegrad/ops/rms_norm.hpp>

namespace moegrad {

template <class Real>
struct RmsNorm {
    Parameter<Real> weight;
    double eps = 1e-6;

    RmsNorm() = default;
    RmsNorm(std::string name, Index D, double eps_) : weight(std::move(name), Shape{D}), eps(eps_) {}

    Var<Real> operator()(Forward<Real>& forward, const Var<Real>& x) {
        return rms_norm(forward.tape, x, weight.use(), eps);
    }
};

}  // namespace moegrad
