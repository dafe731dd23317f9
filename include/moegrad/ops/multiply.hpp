#pragma once
// multiply, element by element.   y[t,o] = f[t,o] x[t,o]          backward: dx = dy f,   df = dy x
// Saved: f and x, each when the other needs a gradient.        f is Wide: a mixture of factors, not an activation.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct MultiplyKernels {
    /// y = f x, or y += that. Backward for x is the same function of dy.
    void (*apply)(Stream, View<const Wide<Real>, 2> f, View<const Real, 2> x, View<Real, 2> y, Write);
    void (*backward_factor)(Stream, View<const Real, 2> x, View<const Real, 2> dy, View<Wide<Real>, 2> df,
                            Write);
};

inline constinit KernelSlot<MultiplyKernels> multiply_slot{"multiply"};

/// f, x [T, O] -> [T, O].
template <class Real>
Var<Real> multiply(Tape& tape, const std::type_identity_t<Var<Wide<Real>>>& f, const Var<Real>& x) {
    if (x.shape().rank() != 2 || !(f.shape() == x.shape())) {
        throw Error{ErrorCode::shape, "multiply", "f [T, O] and x [T, O]",
                    format("f {}, x {}", f.shape().text(), x.shape().text())};
    }
    const auto& kernels = multiply_slot.get<Real>(tape.device());
    auto y = tape.output<Real>(x.shape(), f.needs_gradient() || x.needs_gradient());
    kernels.apply(tape.stream(), f.template view<2>(), x.template view<2>(), y.value().template view<2>(),
                  Write::overwrite);
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(),
                               f = x.needs_gradient() ? f.value() : Tensor<Wide<Real>>(),
                               x = f.needs_gradient() ? x.value() : Tensor<Real>(), dy = y.gradient(),
                               into_f = f.gradient(), into_x = x.gradient()] {
        const View<const Real, 2> dy_view = dy->tensor().template view<2>();
        if (into_f) {
            auto df = into_f->target();
            kernels.backward_factor(stream, x.template view<2>(), dy_view, df.tensor.template view<2>(),
                                    df.write);
        }
        if (into_x) {
            auto dx = into_x->target();
            kernels.apply(stream, f.template view<2>(), dy_view, dx.tensor.template view<2>(), dx.write);
        }
    });
    return y;
}

}  // namespace moegrad
