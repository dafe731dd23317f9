#pragma once
// CPU kernels of ops/swiglu.hpp. Every element is on its own.

#include <moegrad/core/math.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/cpu/support/wide.hpp>
#include <moegrad/ops/swiglu.hpp>

namespace moegrad::cpu::swiglu {
namespace {

inline Index existing(Index N, const std::int32_t* rows) {
    return rows ? std::min<Index>(N, *rows) : N;
}

/// The gradients of one row; pointers to nothing are not wanted. Terms are made in pieces and then put, so that each
/// loop is a plain one over neighbours.
template <class Real>
struct RowGradient {
    static constexpr Index kPiece = 256;
    const Real *gate, *up, *dy;
    Real *d_gate, *d_up;
    Write write_gate, write_up;

    void run(Index F) const {
        for (Index begin = 0; begin < F; begin += kPiece) piece(begin, std::min(F, begin + kPiece));
    }

private:
    void piece(Index begin, Index end) const {
        Real gate_term[kPiece], up_term[kPiece];
        for (Index f = begin; f < end; ++f) {
            const Real s = moegrad::sigmoid(gate[f]);
            gate_term[f - begin] = dy[f] * up[f] * s * (Real(1) + gate[f] * (Real(1) - s));
            up_term[f - begin] = dy[f] * (gate[f] * s);
        }
        if (d_gate) put_all(d_gate + begin, gate_term, end - begin, write_gate);
        if (d_up) put_all(d_up + begin, up_term, end - begin, write_up);
    }
    static void put_all(Real* to, const Real* from, Index count, Write write) {
        for (Index f = 0; f < count; ++f) put(to[f], from[f], write);
    }
};

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
        const RowGradient<Real> row{gate.row(n),
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
