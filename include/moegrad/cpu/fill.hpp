#pragma once
// CPU kernel of ops/fill.hpp.

#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/fill.hpp>

namespace moegrad::cpu::fill {
namespace {

template <class Real>
void fill(Stream, View<Real, 1> x, double value) {
    for (Index i = 0; i < x.extent(0); ++i) x(i) = Real(value);
}

template <class Real>
constexpr FillKernels<Real> kernels{fill<Real>};

}  // namespace
}  // namespace moegrad::cpu::fill

MOEGRAD_CPU_SEATS(fill)
