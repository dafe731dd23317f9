#pragma once
// add, the residual sum.   y = a + b          backward: da = dy, db = dy
// Both take over dy's tensor where they have none of their own yet: along a residual stream no gradient is copied.
// Saved: nothing.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct AddKernels {
    void (*forward)(Stream, View<const Real, 2> a, View<const Real, 2> b, View<Real, 2> y);
    /// dx = dy, or dx += dy.
    void (*backward)(Stream, View<const Real, 2> dy, View<Real, 2> dx, Write);
};

inline constinit KernelSlot<AddKernels> add_slot{"add"};

/// Any one shape.
template <class Real>
Var<Real> add(Tape& tape, const Var<Real>& a, const Var<Real>& b) {
    if (!(a.shape() == b.shape())) {
        throw Error{ErrorCode::shape, "add", "two equal shapes",
                    format("a {}, b {}", a.shape().text(), b.shape().text())};
    }
    const auto& kernels = add_slot.get<Real>(tape.device());
    auto y = tape.output<Real>(a.shape(), a.needs_gradient() || b.needs_gradient());
    kernels.forward(tape.stream(), a.value().matrix(), b.value().matrix(), y.value().matrix());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(),
                [&kernels, stream = tape.stream(), dy = y.gradient(), da = a.gradient(), db = b.gradient()] {
                    for (const auto& into : {da, db}) {
                        if (!into || into->adopt(dy->tensor())) continue;
                        auto dx = into->target();
                        kernels.backward(stream, dy->tensor().matrix(), dx.tensor.matrix(), dx.write);
                    }
                });
    return y;
}

}  // namespace moegrad
