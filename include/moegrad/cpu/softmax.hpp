#pragma once
// CPU kernels of ops/softmax.hpp. Groups are independent; sums in the order of sum_of.

#include <limits>

#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/softmax.hpp>

namespace moegrad::cpu::softmax {
namespace {

template <class Real>
void forward_group(Index E, const Real* x, Real* p) {
    using Value = decltype(real_part(*x));
    constexpr Value off = -std::numeric_limits<Value>::infinity();
    Value largest = off;
    for (Index e = 0; e < E; ++e) largest = std::max(largest, real_part(x[e]));
    // Nothing but -inf (or NaN, which std::max passed over): any finite shift will do.
    const Real shift = largest == off ? Real(0) : Real(largest);
    for (Index e = 0; e < E; ++e) p[e] = moegrad::exp(x[e] - shift);
    const Real sum = sum_of<Real>(E, [&](Index e) { return p[e]; });
    if (sum == Real(0)) return;
    for (Index e = 0; e < E; ++e) p[e] = p[e] / sum;
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<Real, 2> p, Index groups) {
    const Index E = x.extent(1) / groups;
    for_rows(stream, x.extent(0), 4 * x.extent(1), [&](Index t) {
        for (Index g = 0; g < groups; ++g) forward_group(E, x.row(t) + g * E, p.row(t) + g * E);
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> p, View<const Real, 2> dy, View<Real, 2> dx, Index groups,
              Write write) {
    const Index E = p.extent(1) / groups;
    for_rows(stream, p.extent(0), 2 * p.extent(1), [&](Index t) {
        for (Index g = 0; g < groups; ++g) {
            const Real* pt = p.row(t) + g * E;
            const Real* dyt = dy.row(t) + g * E;
            Real* dxt = dx.row(t) + g * E;
            const Real dot = sum_of<Real>(E, [&](Index e) { return dyt[e] * pt[e]; });
            for (Index e = 0; e < E; ++e) put(dxt[e], pt[e] * (dyt[e] - dot), write);
        }
    });
}

template <class Real>
constexpr SoftmaxKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::softmax

MOEGRAD_CPU_SEATS(softmax)
