#pragma once
// rms_norm over the last axis.   y[t,d] = x[t,d] r[t] w[d],   r[t] = 1 / sqrt(mean_d x[t,d]^2 + eps)
// backward, g = dy w:            dx = r (g - x r^2 mean_d(g x)),   dw = sum_t dy x r
// Of a residual sum that nobody has read yet (add_on_read) x is written in the same pass, which saves reading it back.
// Saved: x [T, D], r [T].        Zhang & Sennrich 2019, eq. 4.

#include <moegrad/ops/add.hpp>

namespace moegrad {

/// Rows whose share of dw a GPU adds in one chain.
inline constexpr Index kRmsNormRows = 64;

template <class Real>
struct RmsNormKernels {
    void (*forward)(Stream, View<const Real, 2> x, View<const Real, 1> w, View<Real, 2> y,
                    View<Wide<Real>, 1> r, double eps);
    /// x = a + b, to the bit add's, and the same of x.
    void (*sum_forward)(Stream, View<const Real, 2> a, View<const Real, 2> b, View<const Real, 1> w,
                        View<Real, 2> x, View<Real, 2> y, View<Wide<Real>, 1> r, double eps);
    void (*backward_input)(Stream, View<const Real, 2> x, View<const Real, 1> w, View<const Wide<Real>, 1> r,
                           View<const Real, 2> dy, View<Real, 2> dx, Write);
    /// CPU: one chain per column over the rows, starting from what dw holds. GPU: the sums of kRmsNormRows rows each
    /// in `part` [ceil(T / kRmsNormRows), D], then over those.
    void (*backward_weight)(Stream, View<const Real, 2> x, View<const Wide<Real>, 1> r,
                            View<const Real, 2> dy, View<Wide<Real>, 1> dw, Write, View<Wide<Real>, 2> part);
};

inline constinit KernelSlot<RmsNormKernels> rms_norm_slot{"rms_norm"};

/// x [T, D], w [D] -> [T, D]. eps is added to the mean square.
template <class Real>
Var<Real> rms_norm(Tape& tape, const Var<Real>& x, const Weight<Real>& w, double eps) {
    if (x.shape().rank() != 2 || w.shape().rank() != 1 || x.extent(1) != w.extent(0)) {
        throw Error{ErrorCode::shape, "rms_norm", "x [T, D] and w [D]",
                    format("x {}, w {}", x.shape().text(), w.shape().text())};
    }
    const auto& kernels = rms_norm_slot.get<Real>(tape.device());
    auto y = tape.output<Real>(x.shape(), x.needs_gradient() || w.needs_gradient());
    auto r = tape.make<Wide<Real>>({x.extent(0)});
    const View<const Real, 1> weight = w.template view<1>();
    const View<Real, 2> into = y.value().template view<2>();
    if (auto* sum = sum_on_read(tape, x)) {
        sum->made_by([&](const Tensor<Real>& a, const Tensor<Real>& b, const Tensor<Real>& whole) {
            kernels.sum_forward(tape.stream(), a.template view<2>(), b.template view<2>(), weight,
                                whole.template view<2>(), into, r.template view<1>(), eps);
        });
    } else {
        kernels.forward(tape.stream(), x.template view<2>(), weight, into, r.template view<1>(), eps);
    }
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), x, w, r, dy = y.gradient()] {
        const View<const Real, 2> dy_view = dy->tensor().template view<2>();
        if (w.needs_gradient()) {
            auto dw = w.gradient()->target();
            const Index parts = (x.extent(0) + kRmsNormRows - 1) / kRmsNormRows;
            const auto part = stream.context().template make<Wide<Real>>({parts, x.extent(1)});
            kernels.backward_weight(stream, x.template view<2>(), r.template view<1>(), dy_view,
                                    dw.tensor.template view<1>(), dw.write, part.template view<2>());
        }
        if (x.needs_gradient()) {
            auto dx = x.gradient()->target();
            kernels.backward_input(stream, x.template view<2>(), w.template view<1>(), r.template view<1>(),
                                   dy_view, dx.tensor.template view<2>(), dx.write);
        }
    });
    return y;
}

}  // namespace moegrad
