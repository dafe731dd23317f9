#pragma once
// CUDA kernel of ops/fill.hpp.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/fill.hpp>

namespace moegrad::cuda::fill {
namespace {

template <class Real>
void fill(Stream stream, View<Real, 1> x, double value) {
    const Real number = Real(static_cast<float>(value));
    elements("fill", cuda_stream(stream), x.extent(0), [=] __device__(Index i) { x(i) = number; });
}

template <class Real>
constexpr FillKernels<Real> kernels{fill<Real>};

}  // namespace
}  // namespace moegrad::cuda::fill

MOEGRAD_CUDA_SEATS(fill)
