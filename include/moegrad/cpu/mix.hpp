#pragma once
// CPU kernels of ops/mix.hpp. Rows are independent; y is one chain over j, da in the order of sum_of.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/mix.hpp>

namespace moegrad::cpu::mix {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> a, View<const Real, 2> s, View<Real, 2> y) {
    const Index J = a.extent(1), E = y.extent(1);
    for_rows(stream, a.extent(0), J * E, [&](Index t) {
        Real* yt = y.row(t);
        for (Index e = 0; e < E; ++e) yt[e] = Real(0);
        for (Index j = 0; j < J; ++j) {
            const Real weight = a(t, j);
            const Real* sj = s.row(t) + j * E;
            for (Index e = 0; e < E; ++e) yt[e] += weight * sj[e];
        }
    });
}

template <class Real>
void backward_weight(Stream stream, View<const Real, 2> s, View<const Real, 2> dy, View<Real, 2> da,
                     Write write) {
    const Index J = da.extent(1), E = dy.extent(1);
    for_rows(stream, dy.extent(0), J * E, [&](Index t) {
        const Real* dyt = dy.row(t);
        for (Index j = 0; j < J; ++j) {
            const Real* sj = s.row(t) + j * E;
            put(da(t, j), sum_of<Real>(E, [&](Index e) { return dyt[e] * sj[e]; }), write);
        }
    });
}

template <class Real>
void backward_rows(Stream stream, View<const Real, 2> a, View<const Real, 2> dy, View<Real, 2> ds,
                   Write write) {
    const Index J = a.extent(1), E = dy.extent(1);
    for_rows(stream, dy.extent(0), J * E, [&](Index t) {
        const Real* dyt = dy.row(t);
        for (Index j = 0; j < J; ++j) {
            const Real weight = a(t, j);
            Real* dsj = ds.row(t) + j * E;
            for (Index e = 0; e < E; ++e) put(dsj[e], weight * dyt[e], write);
        }
    });
}

template <class Real>
constexpr MixKernels<Real> kernels{forward<Real>, backward_weight<Real>, backward_rows<Real>};

}  // namespace
}  // namespace moegrad::cpu::mix

MOEGRAD_CPU_SEATS(mix)
