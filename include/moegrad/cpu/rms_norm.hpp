#pragma once
// CPU kernels of ops/rms_norm.hpp. Rows are independent; dw is parallel over columns, each one chain over the rows.

#include <moegrad/core/math.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/cpu/support/wide.hpp>
#include <moegrad/ops/rms_norm.hpp>

namespace moegrad::cpu::rms_norm {
namespace {

/// Of one row; r.
template <class Real>
[[gnu::always_inline]] inline Real forward_row(const Real* xt, View<const Real, 1> w, Real* yt, double eps) {
    const Index D = w.extent(0);
    const Real sum = sum_of<Real>(D, [&](Index d) { return xt[d] * xt[d]; });
    const Real scale = Real(1) / moegrad::sqrt(sum / Real(static_cast<double>(D)) + Real(eps));
    for (Index d = 0; d < D; ++d) yt[d] = xt[d] * scale * w(d);
    return scale;
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 1> w, View<Real, 2> y,
             View<Wide<Real>, 1> r, double eps) {
    for_vector_rows(stream, x.extent(0), x.extent(1),
                    [&](Index t) { r(t) = forward_row(x.row(t), w, y.row(t), eps); });
}

template <class Real>
void sum_forward(Stream stream, View<const Real, 2> a, View<const Real, 2> b, View<const Real, 1> w,
                 View<Real, 2> x, View<Real, 2> y, View<Wide<Real>, 1> r, double eps) {
    const Index D = x.extent(1);
    for_vector_rows(stream, x.extent(0), D, [&](Index t) {
        const Real *at = a.row(t), *bt = b.row(t);
        Real* xt = x.row(t);
        for (Index d = 0; d < D; ++d) xt[d] = at[d] + bt[d];
        r(t) = forward_row<Real>(xt, w, y.row(t), eps);
    });
}

template <class Real>
void backward_input(Stream stream, View<const Real, 2> x, View<const Real, 1> w, View<const Wide<Real>, 1> r,
                    View<const Real, 2> dy, View<Real, 2> dx, Write write) {
    const Index D = x.extent(1);
    for_vector_rows(stream, x.extent(0), D, [&](Index t) {
        const Real* xt = x.row(t);
        const Real* dyt = dy.row(t);
        Real* dxt = dx.row(t);
        const Real dot = sum_of<Real>(D, [&](Index d) { return dyt[d] * w(d) * xt[d]; });
        const Real scale = r(t);
        const Real shift = scale * scale * dot / Real(static_cast<double>(D));
        for (Index d = 0; d < D; ++d) {
            put(dxt[d], scale * (dyt[d] * w(d) - xt[d] * shift), write);
        }
    });
}

template <class Real>
void backward_weight(Stream stream, View<const Real, 2> x, View<const Wide<Real>, 1> r,
                     View<const Real, 2> dy, View<Wide<Real>, 1> dw, Write write, View<Wide<Real>, 2>) {
    const Index T = x.extent(0);
    for_columns(stream, x.extent(1), T, [&](Index begin, Index end) {
        if (write == Write::overwrite) {
            for (Index d = begin; d < end; ++d) dw(d) = Real(0);
        }
        for (Index t = 0; t < T; ++t) {
            for (Index d = begin; d < end; ++d) dw(d) += dy(t, d) * x(t, d) * r(t);
        }
    });
}

template <class Real>
constexpr RmsNormKernels<Real> kernels{forward<Real>, sum_forward<Real>, backward_input<Real>,
                                       backward_weight<Real>};

}  // namespace
}  // namespace moegrad::cpu::rms_norm

MOEGRAD_CPU_SEATS(rms_norm)
