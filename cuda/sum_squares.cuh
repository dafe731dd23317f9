#pragma once
// CUDA kernels of ops/sum_squares.hpp. A block of threads squares kSumBlock values in double: sixteen a thread in order,
// then a fixed tree; a warp adds the blocks of one weight, every 32nd a lane, then a fixed tree. No order depends on the
// grid.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/update_blocks.cuh>
#include <moegrad/ops/sum_squares.hpp>

namespace moegrad::cuda::sum_squares {
namespace {

/// Of block `block` of one weight; all threads call it.
__device__ inline double block_squares(const GradientUses<float>& g, Index block) {
    double sum = 0;
    for_fours(g.size, block, uses_aligned(g), [&](Index i, int count, bool wide) {
        float x[4];
        load_gradient(g, i, count, wide, x);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            if (j < count) sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
        }
    });
    return block_sum(sum);
}

__global__ void __launch_bounds__(kThreads) squares_kernel(GradientUses<float> g, View<double, 1> block) {
    for (Index b = blockIdx.x; b < block.extent(0); b += gridDim.x) {
        const double sum = block_squares(g, b);
        if (threadIdx.x == 0) block(b) = sum;
    }
}

__global__ void __launch_bounds__(kThreads)
    all_squares_kernel(AdamWTable<float> table, View<double, 1> block) {
    for (Index b = blockIdx.x; b < table.blocks; b += gridDim.x) {
        const Index p = item_of(table.begin, b);
        const double sum = block_squares(table.item(p).g, b - table.begin(p));
        if (threadIdx.x == 0) block(b) = sum;
    }
}

__device__ __forceinline__ double sum_of_blocks(const double* block, Index count, int lane) {
    double sum = 0;
    for (Index b = lane; b < count; b += kWarp) sum += block[b];
    return warp_sum(sum);
}

template <class Real>
void sum(Stream stream, const GradientUses<Real>& g, View<double, 1> block, View<double, 1> total) {
    const cudaStream_t s = cuda_stream(stream);
    launch("sum_squares", squares_kernel, dim3(blocks_for(block.extent(0), 1)), dim3(kThreads), 0, s, g,
           block);
    warps("sum_squares", s, 1, [=] __device__(Index, int lane) {
        const double all = sum_of_blocks(block.data, block.extent(0), lane);
        if (lane == 0) total(0) = all;
    });
}

template <class Real>
void sum_all(Stream stream, const AdamWTable<Real>& table, View<double, 1> block, View<double, 1> total) {
    const cudaStream_t s = cuda_stream(stream);
    launch("sum_squares", all_squares_kernel, dim3(blocks_for(table.blocks, 1)), dim3(kThreads), 0, s, table,
           block);
    warps("sum_squares", s, table.item.extent(0), [=] __device__(Index p, int lane) {
        const Index begin = table.begin(p);
        const double all = sum_of_blocks(block.data + begin, table.begin(p + 1) - begin, lane);
        if (lane == 0) total(p) = all;
    });
}

__device__ __forceinline__ bool finite(float x) {
    return fabsf(x) <= 3.402823466e38f;
}

/// The smallest i < n with bad(i), else n; all threads of the block call it. `largest` is shared.
template <class Bad>
__device__ inline int first_of(int n, int* largest, Bad&& bad) {
    if (threadIdx.x == 0) *largest = 0;
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x)) {
        if (bad(i)) atomicMax(largest, n - i);
    }
    __syncthreads();
    return n - *largest;
}

__global__ void __launch_bounds__(kThreads) bad_kernel(GradientUses<float> g, View<Index, 1> block) {
    __shared__ int largest;
    for (Index b = blockIdx.x; b < block.extent(0); b += gridDim.x) {
        const Index begin = b * kSumBlock;
        const int n = static_cast<int>(min(kSumBlock, g.size - begin));
        const int first = first_of(n, &largest, [&](int i) { return !finite(g(begin + i)); });
        if (threadIdx.x == 0) block(b) = first < n ? begin + first : -1;
        __syncthreads();
    }
}

__global__ void __launch_bounds__(kThreads)
    first_bad_kernel(View<const Index, 1> block, View<Index, 1> first) {
    __shared__ int largest;
    const int n = static_cast<int>(block.extent(0));
    const int found = first_of(n, &largest, [&](int b) { return block(b) >= 0; });
    if (threadIdx.x == 0) first(0) = found < n ? block(found) : -1;
}

template <class Real>
void first_non_finite(Stream stream, const GradientUses<Real>& g, View<Index, 1> block,
                      View<Index, 1> first) {
    const cudaStream_t s = cuda_stream(stream);
    launch("first_non_finite", bad_kernel, dim3(blocks_for(block.extent(0), 1)), dim3(kThreads), 0, s, g,
           block);
    launch("first_non_finite", first_bad_kernel, dim3(1), dim3(kThreads), 0, s, block, first);
}

template <class Real>
constexpr SumSquaresKernels<Real> kernels{sum<Real>, first_non_finite<Real>, sum_all<Real>};

}  // namespace
}  // namespace moegrad::cuda::sum_squares

MOEGRAD_CUDA_FLOAT_SEAT(sum_squares)
