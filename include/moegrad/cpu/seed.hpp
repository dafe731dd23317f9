#pragma once
// CPU kernel of ops/seed.hpp.

#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/seed.hpp>

namespace moegrad::cpu::seed {
namespace {

template <class Real>
void fill(Stream stream, int coefficient, View<Real, 1> gradient) {
    const Real value = Real(stream.scalars().coefficient[coefficient]);
    for (Index i = 0; i < gradient.extent(0); ++i) gradient(i) = value;
}

template <class Real>
constexpr SeedKernels<Real> kernels{fill<Real>};

}  // namespace
}  // namespace moegrad::cpu::seed

MOEGRAD_CPU_SEATS(seed)
