#pragma once
// CPU kernels of ops/swiglu.hpp. Every element is on its own.

#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/cpu/support/swiglu_row.hpp>
#include <moegrad/cpu/support/wide.hpp>
#include <moegrad/ops/swiglu.hpp>

namespace moegrad::cpu::swiglu {
namespace {

inline Index existing(Index N, const std::int32_t* rows) {
    return rows ? std::min<Index>(N, *rows) : N;
}

template <class Real>
void forward(Stream stream, View<const Real, 2> gate, View<const Real, 2> up, View<Real, 2> y,
             const std::int32_t* rows) {
    const Index F = gate.extent(1);
    for_vector_rows(stream, existing(gate.extent(0), rows), 4 * F, [&](Index n) {
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
    for_vector_rows(stream, existing(gate.extent(0), rows), 8 * F, [&](Index n) {
        const SwigluRowGradient<Real> row{gate.row(n),
                                          up.row(n),
                                          dy.row(n),
                                          d_gate.data ? d_gate.row(n) : nullptr,
                                          d_up.data ? d_up.row(n) : nullptr,
                                          write_gate,
                                          write_up};
        row.run(F);
    });
}

template <class Real>
constexpr SwigluKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::swiglu

MOEGRAD_CPU_SEATS(swiglu)
