#pragma once
// CUDA kernels of ops/attention_pool.hpp: a block a segment. A warp takes the rows thread / 32, + 8, .. for the products over D;
// a thread takes the columns for the sums over rows, in order.

#include <moegrad/core/math.hpp>
#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/attention_pool.hpp>

namespace moegrad::cuda::attention_pool {
namespace {

__device__ __forceinline__ float warp_product(View<const float, 2> a, Index i, View<const float, 2> b,
                                              Index j) {
    float sum = 0;
    for (Index d = threadIdx.x % kWarp; d < a.extent(1); d += kWarp) sum += a(i, d) * b(j, d);
    return warp_sum(sum);
}

__global__ void __launch_bounds__(kThreads)
    forward_kernel(View<const float, 2> q, View<const float, 2> x, View<const std::int32_t, 1> begin,
                   View<float, 1> p, View<float, 2> a, float scale) {
    const Index D = q.extent(1), warp = threadIdx.x / kWarp;
    for (Index s = blockIdx.x; s < q.extent(0); s += gridDim.x) {
        const Index from = begin(s), to = begin(s + 1);
        for (Index j = from + warp; j < to; j += kThreads / kWarp) {
            const float score = scale * warp_product(q, s, x, j);
            if (threadIdx.x % kWarp == 0) p(j) = score;
        }
        __syncthreads();
        float largest = -INFINITY, sum = 0;
        for (Index j = from + threadIdx.x; j < to; j += kThreads) largest = fmaxf(largest, p(j));
        largest = block_max(largest);
        for (Index j = from + threadIdx.x; j < to; j += kThreads) sum += p(j) = moegrad::exp(p(j) - largest);
        sum = block_sum(sum);
        for (Index j = from + threadIdx.x; j < to; j += kThreads) p(j) /= sum;
        __syncthreads();
        for (Index d = threadIdx.x; d < D; d += kThreads) {
            float total = 0;
            for (Index j = from; j < to; ++j) total += p(j) * x(j, d);
            a(s, d) = total;
        }
        __syncthreads();
    }
}

__global__ void __launch_bounds__(kThreads)
    backward_kernel(View<const float, 2> q, View<const float, 2> x, View<const std::int32_t, 1> begin,
                    View<const float, 1> p, View<const float, 2> da, View<float, 1> slope, View<float, 2> dq,
                    Write write_q, View<float, 2> dx, Write write_x, float scale) {
    const Index D = q.extent(1), warp = threadIdx.x / kWarp;
    for (Index s = blockIdx.x; s < q.extent(0); s += gridDim.x) {
        const Index from = begin(s), to = begin(s + 1);
        for (Index j = from + warp; j < to; j += kThreads / kWarp) {
            const float dp = warp_product(da, s, x, j);
            if (threadIdx.x % kWarp == 0) slope(j) = dp;
        }
        __syncthreads();
        float mean = 0;
        for (Index j = from + threadIdx.x; j < to; j += kThreads) mean += p(j) * slope(j);
        mean = block_sum(mean);
        for (Index j = from + threadIdx.x; j < to; j += kThreads) slope(j) = scale * p(j) * (slope(j) - mean);
        __syncthreads();
        for (Index d = threadIdx.x; d < D; d += kThreads) {
            float total = 0;
            for (Index j = from; j < to; ++j) {
                total += slope(j) * x(j, d);
                if (dx.data != nullptr) put(dx(j, d), p(j) * da(s, d) + slope(j) * q(s, d), write_x);
            }
            if (dq.data != nullptr) put(dq(s, d), total, write_q);
        }
        __syncthreads();
    }
}

inline float scale_of(Index D) {
    return static_cast<float>(1 / std::sqrt(static_cast<double>(D > 0 ? D : 1)));
}

inline void forward(Stream stream, View<const float, 2> q, View<const float, 2> x,
                    View<const std::int32_t, 1> begin, View<float, 1> p, View<float, 2> a) {
    if (q.extent(0) == 0) return;
    launch("attention_pool", forward_kernel, dim3(blocks_for(q.extent(0), 1)), dim3(kThreads), 0,
           cuda_stream(stream), q, x, begin, p, a, scale_of(q.extent(1)));
}

inline void backward(Stream stream, View<const float, 2> q, View<const float, 2> x,
                     View<const std::int32_t, 1> begin, View<const float, 1> p, View<const float, 2> da,
                     View<float, 1> slope, View<float, 2> dq, Write write_q, View<float, 2> dx,
                     Write write_x) {
    const Index S = q.extent(0), D = q.extent(1);
    if (dx.data != nullptr && write_x == Write::overwrite) {
        elements("attention_pool backward", cuda_stream(stream), x.extent(0) * D, [=] __device__(Index i) {
            const Index j = i / D;
            if (j < begin(0) || j >= begin(S)) dx(j, i - j * D) = 0;
        });
    }
    if (S == 0) return;
    launch("attention_pool backward", backward_kernel, dim3(blocks_for(S, 1)), dim3(kThreads), 0,
           cuda_stream(stream), q, x, begin, p, da, slope, dq, write_q, dx, write_x, scale_of(D));
}

template <class Real>
constexpr AttentionPoolKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::attention_pool

MOEGRAD_CUDA_FLOAT_SEAT(attention_pool)
