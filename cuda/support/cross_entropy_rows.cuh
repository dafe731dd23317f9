#pragma once
// A row of logits [V], by a block of threads:   nll = log sum exp(z) - z[target],   g = factor (p - e),   p = exp(z) / sum exp(z)
// g takes the place of z, as Real from the row's first byte on. A row of up to 32,768 logits stays in registers from the one
// to the other: it is read once, and every exponential is made once. A longer one is read twice.

#include <moegrad/cuda/support/numbers.cuh>
#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>

namespace moegrad::cuda::linear_cross_entropy {
namespace {

inline constexpr int kMostThreads = 1024;
inline constexpr int kKeptGroups = 8;  // of four logits, that a thread keeps
inline constexpr float kLowest = -3.402823466e38f;

/// Threads of a block that keeps `groups` of four.
inline unsigned kept_threads(Index groups) {
    const Index warps = (groups + kKeptGroups * kWarp - 1) / (kKeptGroups * kWarp);
    return static_cast<unsigned>(std::max<Index>(warps, 1) * kWarp);
}

/// What a block of threads knows of its row of logits.
struct Row {
    float* z;
    Index V;
    std::int32_t target;
    bool fast;  // 16 bytes at a time

    /// Four logits from v on, `beyond` behind the last.
    __device__ __forceinline__ void load(Index v, float beyond, float (&to)[4]) const {
        if (fast && v + 4 <= V) {
            const float4 all = *reinterpret_cast<const float4*>(z + v);
            to[0] = all.x, to[1] = all.y, to[2] = all.z, to[3] = all.w;
            return;
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) to[j] = v + j < V ? z[v + j] : beyond;
    }
    template <class Real>
    __device__ __forceinline__ void store(Index v, const float (&from)[4]) const {
        Real* const g = reinterpret_cast<Real*>(z) + v;
        if (fast && v + 4 <= V) {
            if constexpr (sizeof(Real) == 2) {
                *reinterpret_cast<uint2*>(g) =
                    make_uint2(pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3]));
            } else {
                *reinterpret_cast<float4*>(g) = make_float4(from[0], from[1], from[2], from[3]);
            }
            return;
        }
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (v + j < V) g[j] = narrow<Real>(from[j]);
    }
    /// factor (p - e) of four exponentials from v on, in their place.
    __device__ __forceinline__ void subtract(Index v, float factor, float sum, float (&e)[4]) const {
        const float scale = factor / sum;
#pragma unroll
        for (int j = 0; j < 4; ++j) e[j] = v + j == target ? factor * (e[j] / sum - 1) : e[j] * scale;
    }
};

/// The largest logit, and the sum of exp(z - max); the same in every thread.
struct RowSum {
    float max, sum;
};

/// One that its block keeps: exponentials from total() on.
struct KeptRow {
    float z[kKeptGroups][4];

    __device__ __forceinline__ static Index place(int k) {
        return 4 * (threadIdx.x + static_cast<Index>(k) * blockDim.x);
    }
    __device__ __forceinline__ RowSum total(const Row& row) {
        float max = kLowest, sum = 0;
#pragma unroll
        for (int k = 0; k < kKeptGroups; ++k) {
            row.load(place(k), -INFINITY, z[k]);
#pragma unroll
            for (int j = 0; j < 4; ++j) max = fmaxf(max, z[k][j]);
        }
        max = block_max(max);
#pragma unroll
        for (int k = 0; k < kKeptGroups; ++k) {
#pragma unroll
            for (int j = 0; j < 4; ++j) sum += z[k][j] = expf(z[k][j] - max);
        }
        return {max, block_sum(sum)};
    }
    /// Every logit has been read.
    template <class Real>
    __device__ __forceinline__ void to_gradient(const Row& row, const RowSum& all, float factor) {
#pragma unroll
        for (int k = 0; k < kKeptGroups; ++k) {
            row.subtract(place(k), factor, all.sum, z[k]);
            row.store<Real>(place(k), z[k]);
        }
    }
};

/// One that is too long for that.
struct ReadRow {
    __device__ RowSum total(const Row& row) {
        float max = kLowest, sum = 0;
        for (Index v = 4 * static_cast<Index>(threadIdx.x); v < row.V; v += 4 * blockDim.x) {
            float z[4], next = max;
            row.load(v, -INFINITY, z);
#pragma unroll
            for (int j = 0; j < 4; ++j) next = fmaxf(next, z[j]);
            sum *= expf(max - next);
#pragma unroll
            for (int j = 0; j < 4; ++j) sum += expf(z[j] - next);
            max = next;
        }
        const float largest = block_max(max);
        return {largest, block_sum(sum * expf(max - largest))};
    }
    /// What a round of threads writes lies below what a later one reads, since Real is no wider than the logits.
    template <class Real>
    __device__ void to_gradient(const Row& row, const RowSum& all, float factor) {
        for (Index first = 0; first < row.V; first += 4 * blockDim.x) {
            const Index v = first + 4 * static_cast<Index>(threadIdx.x);
            float z[4];
            row.load(v, -INFINITY, z);
#pragma unroll
            for (int j = 0; j < 4; ++j) z[j] = expf(z[j] - all.max);
            row.subtract(v, factor, all.sum, z);
            __syncthreads();
            row.store<Real>(v, z);
        }
    }
};

template <class Real>
__device__ inline void to_zeros(const Row& row) {
    Real* const gradient = reinterpret_cast<Real*>(row.z);
    for (Index v = threadIdx.x; v < row.V; v += blockDim.x) gradient[v] = narrow<Real>(0);
}

/// Block i: row i of the piece. nll (or null) gets losses; factor: d, or null for 1; gradient: whether it is wanted.
template <class Real, class Logits>
__global__ void __launch_bounds__(kMostThreads)
    rows_kernel(View<const std::int32_t, 1> target, View<const std::int32_t, 1> row, View<float, 2> logits,
                float* nll, const float* factor, bool gradient, DeviceStatus* seen) {
    const Index t = row(blockIdx.x);
    const std::int32_t own = t < 0 ? -1 : target(t);
    const Row here{logits.row(blockIdx.x), logits.extent(1), own,
                   reinterpret_cast<std::uintptr_t>(logits.data) % 16 == 0 && logits.pitch % 4 == 0};
    if (own < 0 || own >= here.V) {
        if (t >= 0 && threadIdx.x == 0) seen->bad_index = 1;
        if (gradient) to_zeros<Real>(here);
        return;
    }
    const float z = here.z[own];
    Logits read;
    const RowSum all = read.total(here);
    if (nll != nullptr && threadIdx.x == 0) nll[t] = logf(all.sum) + (all.max - z);
    if (gradient) read.template to_gradient<Real>(here, all, factor == nullptr ? 1.0f : factor[t]);
}

}  // namespace
}  // namespace moegrad::cuda::linear_cross_entropy
