#pragma once
// CPU kernels of ops/swiglu.hpp. Every element is on its own.

#include <moegrad/core/math.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/swiglu.hpp>

namespace moegrad::cpu::swiglu {
namespace {

inline Index existing(Index N, const std::int32_t* rows) {
    return rows ? std::min<Index>(N, *rows) : N;
}

/// to[f] = term(f) or to[f] += term(f), the choice outside of the loop, which then vectorises.
template <class Real, class Term>
void put_row(Real* to, Index F, Write write, Term term) {
    if (write == Write::overwrite) {
        for (Index f = 0; f < F; ++f) to[f] = term(f);
    } else {
        for (Index f = 0; f < F; ++f) to[f] += term(f);
    }
}

template <class Real>
void forward(Stream stream, View<const Real, 2> gate, View<const Real, 2> up, View<Real, 2> y,
             const std::int32_t* rows) {
    const Index F = gate.extent(1);
    for_rows(stream, existing(gate.extent(0), rows), 4 * F, [&](Index n) {
        const Real* g = gate.row(n);
        const Real* u = up.row(n);
        Real* yn = y.row(n);
        for (Index f = 0; f < F; ++f) yn[f] = moegrad::silu(g[f]) * u[f];
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> gate, View<const Real, 2> up, View<const Real, 2> dy,
              View<Real, 2> d_gate, Write write_gate, View<Real, 2> d_up, Write write_up,
              const std::int32_t* rows) {
    const Index F = gate.extent(1);
    for_rows(stream, existing(gate.extent(0), rows), 8 * F, [&](Index n) {
        const Real* g = gate.row(n);
        const Real* u = up.row(n);
        const Real* dyn = dy.row(n);
        const auto gate_term = [&](Index f) {
            const Real s = moegrad::sigmoid(g[f]);
            return dyn[f] * u[f] * s * (Real(1) + g[f] * (Real(1) - s));
        };
        if (d_gate.data) put_row(d_gate.row(n), F, write_gate, gate_term);
        if (d_up.data)
            put_row(d_up.row(n), F, write_up, [&](Index f) { return dyn[f] * moegrad::silu(g[f]); });
    });
}

template <class Real>
constexpr SwigluKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::swiglu

MOEGRAD_CPU_SEATS(swiglu)
