#pragma once
// CUDA kernel of ops/concat.hpp. bf16: copies are exact; a sum is rounded once.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/concat.hpp>

namespace moegrad::cuda::concat {
namespace {

template <class Real>
void copy(Stream stream, View<const Real, 2> from, View<Real, 2> to, Write write) {
    put_matrix("concat", cuda_stream(stream), from, to, write);
}

template <class Real>
constexpr ConcatKernels<Real> kernels{copy<Real>};

}  // namespace
}  // namespace moegrad::cuda::concat

MOEGRAD_CUDA_SEATS(concat)
