#pragma once
// require_finite: for a router that reads x for nothing else: a token that is no number must not pass.
// A product with zeros is 0 for a finite token and NaN for any other. It reads the narrow x of a bf16 model once, where a
// question for x itself would make a wide copy.

#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/top_k.hpp>
#include <moegrad/ops/wide_linear.hpp>

namespace moegrad {

/// x [T, D]. The CPU throws and names the token; on a GPU it is as for top_k of a NaN.
template <class Real>
void require_finite(Tape& tape, const Var<Real>& x) {
    Tape aside(tape.context(), Mode::inference);
    const Var<Real> zeros(filled<Real>(aside, {1, x.extent(1)}, 0));
    top_k(aside, wide_linear(aside, x, zeros).value(), 1);
}

}  // namespace moegrad
