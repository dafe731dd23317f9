#pragma once
// CPU kernels of ops/multiply.hpp. Elements are independent.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/multiply.hpp>

namespace moegrad::cpu::multiply {
namespace {

template <class Real>
void apply(Stream stream, View<const Real, 2> f, View<const Real, 2> x, View<Real, 2> y, Write write) {
    const Index O = y.extent(1);
    for_rows(stream, y.extent(0), O, [&](Index t) {
        const Real *ft = f.row(t), *xt = x.row(t);
        Real* yt = y.row(t);
        for (Index o = 0; o < O; ++o) put(yt[o], ft[o] * xt[o], write);
    });
}

template <class Real>
constexpr MultiplyKernels<Real> kernels{apply<Real>, apply<Real>};

}  // namespace
}  // namespace moegrad::cpu::multiply

MOEGRAD_CPU_SEATS(multiply)
