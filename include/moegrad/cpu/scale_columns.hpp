#pragma once
// CPU kernels of ops/scale_columns.hpp. Rows are independent; dl is parallel over columns, each one chain over the rows.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/scale_columns.hpp>

namespace moegrad::cpu::scale_columns {
namespace {

template <class Real>
void apply(Stream stream, View<const Real, 2> x, View<const Real, 1> l, View<const Real, 1> n,
           View<Real, 2> y, Write write) {
    const Index O = y.extent(1);
    const bool divides = !n.empty();
    for_rows(stream, y.extent(0), 4 * O, [&](Index t) {
        const Real* xt = x.row(t);
        Real* yt = y.row(t);
        for (Index o = 0; o < O; ++o) {
            const Real factor = !divides ? l(o) : n(o) == Real(0) ? Real(0) : l(o) / n(o);
            put(yt[o], factor * xt[o], write);
        }
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> x, View<const Real, 1> l, View<const Real, 1> n,
              View<const Real, 2> dy, View<Real, 1> dl, Write write, View<Real, 2> dx, Write dx_write,
              View<Real, 2>) {
    if (dx.data != nullptr) apply(stream, dy, l, n, dx, dx_write);
    const Index T = x.extent(0);
    const bool divides = !n.empty();
    for_columns(stream, x.extent(1), T, [&](Index begin, Index end) {
        if (write == Write::overwrite) {
            for (Index o = begin; o < end; ++o) dl(o) = Real(0);
        }
        for (Index t = 0; t < T; ++t) {
            for (Index o = begin; o < end; ++o) {
                const Real term = dy(t, o) * x(t, o);
                dl(o) += !divides ? term : n(o) == Real(0) ? Real(0) : term / n(o);
            }
        }
    });
}

template <class Real>
constexpr ScaleColumnsKernels<Real> kernels{apply<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::scale_columns

MOEGRAD_CPU_SEATS(scale_columns)
