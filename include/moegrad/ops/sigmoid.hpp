#pragma once
// sigmoid, element by element.   y = 1 / (1 + exp(-x))             backward: dx = dy y (1 - y)
// log_sigmoid:                   y = -log(1 + exp(-x))             backward: dx = dy / (1 + exp(x))
// A softmax of log_sigmoid is sigmoid(x) over its sum, without an overflow, and without a quotient of two zeros where
// every sigmoid underflows. NaN stays NaN.
// Saved: y of sigmoid, x of log_sigmoid.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct SigmoidKernels {
    void (*forward)(Stream, View<const Real, 2> x, View<Real, 2> y);
    void (*backward)(Stream, View<const Real, 2> y, View<const Real, 2> dy, View<Real, 2> dx, Write);
    void (*log_forward)(Stream, View<const Real, 2> x, View<Real, 2> y);
    void (*log_backward)(Stream, View<const Real, 2> x, View<const Real, 2> dy, View<Real, 2> dx, Write);
};

inline constinit KernelSlot<SigmoidKernels> sigmoid_slot{"sigmoid"};

/// Any shape.
template <class Real>
Var<Real> sigmoid(Tape& tape, const Var<Real>& x) {
    const auto& kernels = sigmoid_slot.get<Real>(tape.device());
    auto y = tape.output<Real>(x.shape(), x.needs_gradient());
    kernels.forward(tape.stream(), x.value().matrix(), y.value().matrix());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(),
                [&kernels, stream = tape.stream(), y = y.value(), dy = y.gradient(), into = x.gradient()] {
                    auto dx = into->target();
                    kernels.backward(stream, y.matrix(), dy->tensor().matrix(), dx.tensor.matrix(), dx.write);
                });
    return y;
}

/// Any shape.
template <class Real>
Var<Real> log_sigmoid(Tape& tape, const Var<Real>& x) {
    const auto& kernels = sigmoid_slot.get<Real>(tape.device());
    auto y = tape.output<Real>(x.shape(), x.needs_gradient());
    kernels.log_forward(tape.stream(), x.value().matrix(), y.value().matrix());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), x = x.value(), dy = y.gradient(),
                               into = x.gradient()] {
        auto dx = into->target();
        kernels.log_backward(stream, x.matrix(), dy->tensor().matrix(), dx.tensor.matrix(), dx.write);
    });
    return y;
}

}  // namespace moegrad
