#pragma once
// The rows that null experts add to a router: a gate of their own, beside the one of the true experts.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/ops/concat.hpp>
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

/// z = [W_g x ; W_g2 x] over true and null experts, [T, E + M]; without gate2 over the true ones, [T, E].
template <class Real>
Var<Real> logits_with_nulls(Tape& tape, Gate<Real>& gate, Gate<Real>& gate2, const Var<Real>& x,
                            const Segments& segments) {
    const auto z = gate.logits(tape, x, segments);
    return gate2.defined() ? concat(tape, z, gate2.logits(tape, x, segments)) : z;
}

/// Of the gate, then of gate2 where there is one.
template <class Real>
std::vector<Parameter<Real>*> parameters_with_nulls(Gate<Real>& gate, Gate<Real>& gate2) {
    auto all = gate.parameters();
    if (!gate2.defined()) return all;
    for (auto* parameter : gate2.parameters()) all.push_back(parameter);
    return all;
}

}  // namespace moegrad
