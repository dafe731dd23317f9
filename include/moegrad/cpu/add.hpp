#pragma once
// CPU kernels of ops/add.hpp. Elements are independent.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/add.hpp>

namespace moegrad::cpu::add {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> a, View<const Real, 2> b, View<Real, 2> y) {
    const Index D = y.extent(1);
    for_rows(stream, y.extent(0), D, [&](Index t) {
        const Real *at = a.row(t), *bt = b.row(t);
        Real* yt = y.row(t);
        for (Index d = 0; d < D; ++d) yt[d] = at[d] + bt[d];
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> dy, View<Real, 2> dx, Write write) {
    const Index D = dy.extent(1);
    for_rows(stream, dy.extent(0), D, [&](Index t) {
        const Real* dyt = dy.row(t);
        Real* dxt = dx.row(t);
        for (Index d = 0; d < D; ++d) put(dxt[d], dyt[d], write);
    });
}

template <class Real>
constexpr AddKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::add

MOEGRAD_CPU_SEATS(add)
