#pragma once
// CUDA kernel of ops/zero_block.hpp, on float gradients.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/zero_block.hpp>

namespace moegrad::cuda::zero_block {
namespace {

template <class Real>
void zero(Stream stream, View<Real, 3> w, Block block) {
    const Index rows = block.row_end - block.row_begin, columns = block.column_end - block.column_begin;
    groups<1>("zero_block", cuda_stream(stream), w.extent(0) * rows, columns, nullptr,
              [=] __device__(Index i, Index c) {
                  w(i / rows, block.row_begin + i % rows, block.column_begin + c) = 0;
              });
}

template <class Real>
constexpr ZeroBlockKernels<Real> kernels{zero<Real>};

}  // namespace
}  // namespace moegrad::cuda::zero_block

MOEGRAD_CUDA_FLOAT_SEAT(zero_block)
