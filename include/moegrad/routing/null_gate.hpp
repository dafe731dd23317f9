#pragma once
// The rows that null experts add to a router: a gate of their own, beside the one of the true experts.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include <moegrad/routing/gate.hpp>

namespace moegrad {

/// gate2 [M, D] as M / E stacked copies of the gate's rows (AdaMoE, footnote 2). M must be a multiple of E.
template <class Real>
std::shared_ptr<Parameter<Real>> copy_gate(const Parameter<Real>& gate, Index nulls, std::string name) {
    const Index E = gate.shape()[0], D = gate.shape()[1];
    if (nulls < 1 || nulls % E != 0) {
        throw Error{ErrorCode::config, name, format("null_experts a multiple of the {} experts", E),
                    format("{}", nulls), "gate2 is made of whole copies of the gate"};
    }
    auto copy = std::make_shared<Parameter<Real>>(std::move(name), Shape{nulls, D});
    const auto from = host(gate.value());
    for (Index m = 0; m < nulls; ++m) {
        const Real* row = from.matrix().row(m % E);
        std::copy(row, row + D, copy->value().matrix().row(m));
    }
    return copy;
}

}  // namespace moegrad
