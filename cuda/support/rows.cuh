#pragma once
// Shapes of plain kernels: one element a thread, one row a warp, one row a block; sums in one fixed order.

#include <algorithm>

#include <moegrad/cuda/support/device_language.cuh>
#include <moegrad/cuda/support/numbers.cuh>
#include <moegrad/cuda/support/runtime.cuh>

namespace moegrad::cuda {
namespace {

inline constexpr int kThreads = 256;
inline constexpr int kWarp = 32;

/// Blocks for n pieces of work, `each` a block, at most a few waves: kernels loop over what is left.
inline unsigned blocks_for(Index n, Index each) {
    const Index wanted = (n + each - 1) / each;
    return static_cast<unsigned>(std::min<Index>(wanted, 16 * device_limits().multiprocessors));
}

template <class Body>
__global__ void __launch_bounds__(kThreads) elements_kernel(EarlierKernels earlier, Index n, Body body) {
    earlier.wait();
    const Index step = static_cast<Index>(gridDim.x) * blockDim.x;
    for (Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) body(i);
}

/// body(i) for 0 <= i < n, in any order.  body: [=] __device__(Index i) { ... }
template <class Body>
void elements(const char* place, cudaStream_t stream, Index n, Body body) {
    launch_early(place, elements_kernel<Body>, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0, stream, n,
                 body);
}

template <class Body>
__global__ void __launch_bounds__(kThreads) warps_kernel(EarlierKernels earlier, Index n, Body body) {
    earlier.wait();
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const Index step = static_cast<Index>(gridDim.x) * (kThreads / kWarp);
    for (Index i = static_cast<Index>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp; i < n;
         i += step) {
        body(i, lane);
    }
}

/// body(row, lane) for 0 <= row < n: one warp a row, all 32 lanes together.
template <class Body>
void warps(const char* place, cudaStream_t stream, Index n, Body body) {
    launch_early(place, warps_kernel<Body>, dim3(blocks_for(n, kThreads / kWarp)), dim3(kThreads), 0, stream,
                 n, body);
}

/// The same sum in every lane; pairs by distance 16, 8, 4, 2, 1.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, distance);
    return x;
}
__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, distance);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, distance));
    }
    return x;
}

/// Inclusive prefix sum over the lanes.
__device__ __forceinline__ int warp_prefix(int x, int lane) {
#pragma unroll
    for (int distance = 1; distance < kWarp; distance *= 2) {
        const int below = __shfl_up_sync(0xffffffffu, x, static_cast<unsigned>(distance));
        if (lane >= distance) x += below;
    }
    return x;
}

/// The same sum in every thread of a block of up to 1024; all threads call it.
template <class Number>
__device__ __forceinline__ Number block_sum(Number x) {
    __shared__ Number part[kWarp];
    x = warp_sum(x);
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const int warps_here = static_cast<int>(blockDim.x + kWarp - 1) / kWarp;
    __syncthreads();
    if (lane == 0) part[warp] = x;
    __syncthreads();
    return warp_sum(lane < warps_here ? part[lane] : Number(0));
}
/// The same maximum in every thread, likewise.
__device__ __forceinline__ float block_max(float x) {
    __shared__ float part[kWarp];
    x = warp_max(x);
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const int warps_here = static_cast<int>(blockDim.x + kWarp - 1) / kWarp;
    __syncthreads();
    if (lane == 0) part[warp] = x;
    __syncthreads();
    return warp_max(part[lane < warps_here ? lane : 0]);
}

}  // namespace
}  // namespace moegrad::cuda
