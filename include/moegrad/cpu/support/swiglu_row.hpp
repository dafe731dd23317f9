#pragma once
// The gradient of ops/swiglu.hpp on one row.

#include <algorithm>

#include <moegrad/core/math.hpp>
#include <moegrad/cpu/support/rows.hpp>

namespace moegrad::cpu {

/// The gradients of one row; pointers to nothing are not wanted. Terms are made in pieces and then put, so that each
/// loop is a plain one over neighbours.
template <class Real>
struct SwigluRowGradient {
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

}  // namespace moegrad::cpu
