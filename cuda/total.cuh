#pragma once
// CUDA kernel of ops/total.hpp. In a block every thread adds every 1024th value, then the threads are added as
// block_sum does.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/total.hpp>

namespace moegrad::cuda::total {
namespace {

constexpr int kSumThreads = 1024;

/// into[b] = sum of the values [b length, (b + 1) length)
template <class Number>
__global__ void __launch_bounds__(kSumThreads)
    sum_kernel(EarlierKernels earlier, View<const Number, 1> value, View<const std::uint8_t, 1> valid,
               Index length, View<double, 1> into, Write write) {
    earlier.wait();
    const Index begin = blockIdx.x * length, end = min(value.extent(0), begin + length);
    double sum = 0;
    for (Index i = begin + threadIdx.x; i < end; i += kSumThreads)
        if (is_valid(valid, i)) sum += static_cast<double>(value(i));
    sum = block_sum(sum);
    if (threadIdx.x > 0) return;
    into(blockIdx.x) = write == Write::overwrite ? sum : into(blockIdx.x) + sum;
}

template <class Number>
void sum_blocks(cudaStream_t stream, View<const Number, 1> value, View<const std::uint8_t, 1> valid,
                Index blocks, Index length, View<double, 1> into, Write write) {
    launch_early("total", sum_kernel<Number>, dim3(static_cast<unsigned>(blocks)), dim3(kSumThreads), 0,
                 stream, value, valid, length, into, write);
}

template <class Real>
void sum(Stream stream, View<const Real, 1> value, View<const std::uint8_t, 1> valid, View<double, 1> part,
         View<double, 1> into, Write write) {
    const Index blocks = part.extent(0);
    if (blocks <= 1) return sum_blocks(cuda_stream(stream), value, valid, 1, value.extent(0), into, write);
    sum_blocks(cuda_stream(stream), value, valid, blocks, kTotalBlock, part, Write::overwrite);
    sum_blocks<double>(cuda_stream(stream), part, {}, 1, blocks, into, write);
}

template <class Real>
constexpr TotalKernels<Real> kernels{sum<Real>};

}  // namespace
}  // namespace moegrad::cuda::total

MOEGRAD_CUDA_FLOAT_SEAT(total)
