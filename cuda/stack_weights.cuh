#pragma once
// CUDA kernels of ops/stack_weights.hpp. bf16: values are copied, gradients are float; a sum of two is rounded as a float.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/stack_weights.hpp>

namespace moegrad::cuda::stack_weights {
namespace {

template <class Real>
void place(Stream stream, View<const Real, 2> a, View<const Real, 2> b, View<Real, 2> y) {
    const Index R = a.extent(0), C = y.extent(1), first = C - b.extent(1);
    groups<1>("stack_weights", cuda_stream(stream), y.extent(0), C, nullptr,
              [=] __device__(Index r, Index c) {
                  if (r < R) {
                      y(r, c) = c < a.extent(1) ? a(r, c) : narrow<Real>(0.0f);
                  } else {
                      y(r, c) = c >= first ? b(r - R, c - first) : narrow<Real>(0.0f);
                  }
              });
}

template <class Real>
void take(Stream stream, View<const Wide<Real>, 2> from, View<Wide<Real>, 2> to, Write write) {
    put_matrix("stack_weights backward", cuda_stream(stream), from, to, write);
}

template <class Real>
constexpr StackWeightsKernels<Real> kernels{place<Real>, take<Real>};

}  // namespace
}  // namespace moegrad::cuda::stack_weights

MOEGRAD_CUDA_SEATS(stack_weights)
