#pragma once
// CPU kernels of ops/entropy.hpp. Rows are independent; sums in the order of sum_of.

#include <moegrad/core/math.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/entropy.hpp>

namespace moegrad::cpu::entropy {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> p, View<Real, 1> h, double eps) {
    const Index E = p.extent(1);
    for_rows(stream, p.extent(0), 8 * E, [&](Index t) {
        const Real* pt = p.row(t);
        h(t) = -sum_of<Real>(
            E, [&](Index e) { return pt[e] == Real(0) ? Real(0) : pt[e] * moegrad::log(pt[e] + Real(eps)); });
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> p, View<const Real, 1> dh, View<Real, 2> dp, Write write,
              double eps) {
    const Index E = p.extent(1);
    for_rows(stream, p.extent(0), 8 * E, [&](Index t) {
        for (Index e = 0; e < E; ++e) {
            const Real value = p(t, e), inside = value + Real(eps);
            put(dp(t, e), inside == Real(0) ? Real(0) : -dh(t) * (moegrad::log(inside) + value / inside),
                write);
        }
    });
}

template <class Real>
constexpr EntropyKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::entropy

MOEGRAD_CPU_SEATS(entropy)
