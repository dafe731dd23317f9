#pragma once
// CUDA kernels of ops/linear.hpp: one cuBLASLt product each, added in float.
// bf16: y is rounded once; dx once, and once more with every further addition; dw is float.

#include <moegrad/cuda/support/products.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/linear.hpp>

namespace moegrad::cuda::linear {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<Real, 2> y) {
    multiply_rows("linear", stream, x, w, y, Write::overwrite);
}

template <class Real>
void backward_input(Stream stream, View<const Real, 2> w, View<const Real, 2> dy, View<Real, 2> dx,
                    Write write) {
    multiply_back("linear, dx", stream, dy, w, dx, write);
}

template <class Real>
void backward_weight(Stream stream, View<const Real, 2> x, View<const Real, 2> dy, View<Wide<Real>, 2> dw,
                     Write write) {
    multiply_weight("linear, dw", stream, dy, x, dw, write);
}

template <class Real>
constexpr LinearKernels<Real> kernels{forward<Real>, backward_input<Real>, backward_weight<Real>};

}  // namespace
}  // namespace moegrad::cuda::linear

MOEGRAD_CUDA_SEATS(linear)
