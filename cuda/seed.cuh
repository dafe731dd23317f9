#pragma once
// CUDA kernel of ops/seed.hpp: the coefficient is read on the device.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/seed.hpp>

namespace moegrad::cuda::seed {
namespace {

template <class Real>
void fill(Stream stream, int coefficient, View<Real, 1> gradient) {
    const double* value = scalars(stream)->coefficient + coefficient;
    elements("seed", cuda_stream(stream), gradient.extent(0),
             [=] __device__(Index i) { gradient(i) = static_cast<Real>(*value); });
}

template <class Real>
constexpr SeedKernels<Real> kernels{fill<Real>};

}  // namespace
}  // namespace moegrad::cuda::seed

MOEGRAD_CUDA_FLOAT_SEAT(seed)
