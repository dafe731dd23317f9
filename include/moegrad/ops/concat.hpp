#pragma once
// concat of columns.   y[t] = [a[t] | b[t]]
// backward:            da, db = the columns of dy
// Saved: nothing.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct ConcatKernels {
    /// to = from, or to += from. Both are windows of columns: any pitch.
    void (*copy)(Stream, View<const Real, 2> from, View<Real, 2> to, Write);
};

inline constinit KernelSlot<ConcatKernels> concat_slot{"concat"};

/// a [T, A], b [T, B] -> [T, A + B].
template <class Real>
Var<Real> concat(Tape& tape, const Var<Real>& a, const Var<Real>& b) {
    if (a.shape().rank() != 2 || b.shape().rank() != 2 || a.extent(0) != b.extent(0)) {
        throw Error{ErrorCode::shape, "concat", "a [T, A] and b [T, B]",
                    format("a {}, b {}", a.shape().text(), b.shape().text())};
    }
    const auto& kernels = concat_slot.get<Real>(tape.device());
    const Index T = a.extent(0), A = a.extent(1), B = b.extent(1);
    auto y = tape.output<Real>({T, A + B}, a.needs_gradient() || b.needs_gradient());
    kernels.copy(tape.stream(), a.template view<2>(), y.value().columns(0, A).template view<2>(),
                 Write::overwrite);
    kernels.copy(tape.stream(), b.template view<2>(), y.value().columns(A, A + B).template view<2>(),
                 Write::overwrite);
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), A, B, dy = y.gradient(), da = a.gradient(),
                               db = b.gradient()] {
        if (da) {
            auto target = da->target();
            kernels.copy(stream, dy->tensor().columns(0, A).template view<2>(),
                         target.tensor.template view<2>(), target.write);
        }
        if (db) {
            auto target = db->target();
            kernels.copy(stream, dy->tensor().columns(A, A + B).template view<2>(),
                         target.tensor.template view<2>(), target.write);
        }
    });
    return y;
}

}  // namespace moegrad
