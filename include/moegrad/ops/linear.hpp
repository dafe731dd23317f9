#pragma once
// linear, without a bias.   y[t,o] = sum_d x[t,d] w[o,d]
// backward:                 dx = dy w,   dw[o,d] = sum_t dy[t,o] x[t,d]
// Every element is one chain: y over d, dx over o, dw over t and starting from what dw holds.
// Saved: x [T, D] when w needs a gradient.

#include <type_traits>

#include <moegrad/autograd/tape.hpp>
#include <moegrad/ops/nf4.hpp>

namespace moegrad {

template <class Real>
struct LinearKernels {
    void (*forward)(Stream, View<const Real, 2> x, View<const Real, 2> w, View<Real, 2> y);
    void (*backward_input)(Stream, View<const Real, 2> w, View<const Real, 2> dy, View<Real, 2> dx, Write);
    void (*backward_weight)(Stream, View<const Real, 2> x, View<const Real, 2> dy, View<Wide<Real>, 2> dw,
                            Write);
};

inline constinit KernelSlot<LinearKernels> linear_slot{"linear"};

/// x [T, D], w [O, D] -> [T, O].
template <class Real>
Var<Real> linear(Tape& tape, const Var<Real>& x, const std::type_identity_t<Matrix<Real>>& w) {
    if (x.shape().rank() != 2 || w.shape().rank() != 2 || x.extent(1) != w.extent(1)) {
        throw Error{ErrorCode::shape, "linear", "x [T, D] and w [O, D]",
                    format("x {}, w {}", x.shape().text(), w.shape().text())};
    }
    const auto& kernels = linear_slot.get<Real>(tape.device());
    auto y = tape.output<Real>({x.extent(0), w.extent(0)}, x.needs_gradient() || w.needs_gradient());
    kernels.forward(tape.stream(), x.template view<2>(), w.dense(tape.context()).template view<2>(),
                    y.value().template view<2>());
    if (!y.needs_gradient()) return y;
    // A frozen weight has no use for x: do not keep it alive.
    tape.record(y.gradient(),
                [&kernels, stream = tape.stream(), x = w.needs_gradient() ? x.value() : Tensor<Real>(), w,
                 dy = y.gradient(), into = x.gradient()] {
                    const View<const Real, 2> dy_view = dy->tensor().template view<2>();
                    if (w.needs_gradient()) {
                        auto dw = w.gradient()->target();
                        kernels.backward_weight(stream, x.template view<2>(), dy_view,
                                                dw.tensor.template view<2>(), dw.write);
                    }
                    if (into) {
                        auto dx = into->target();
                        kernels.backward_input(stream, w.dense(stream.context()).template view<2>(), dy_view,
                                               dx.tensor.template view<2>(), dx.write);
                    }
                });
    return y;
}

}  // namespace moegrad
