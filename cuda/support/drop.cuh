#pragma once
// The mask of ops/dropout.hpp in kernels: the same bits and, in float, the same products as on the CPU.

#include <moegrad/cuda/support/device_language.cuh>
#include <moegrad/ops/dropout.hpp>

namespace moegrad::cuda {

/// Columns that share one call of Philox.
inline constexpr int kDropColumns = 4;

/// The mask of the step that the scalars tell of; all threads of a block call it, one computes.
__device__ inline DropoutMask block_mask(const StepScalars* scalars, const Dropout& dropout,
                                         std::uint32_t expert = 0) {
    __shared__ PhiloxKey key;
    __shared__ std::uint32_t threshold;
    __shared__ double scale;
    __syncthreads();
    if (threadIdx.x == 0) {
        const DropoutMask mask = dropout_mask(*scalars, dropout, expert);
        key = mask.key;
        threshold = mask.threshold;
        scale = mask.scale;
    }
    __syncthreads();
    return {key, threshold, scale};
}

/// a b, rounded: never part of a fused multiply-add.
__device__ __forceinline__ float rounded_product(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

/// value[j] = keep(column + j) value[j] / (1 - rate), for N columns from `column` on, a multiple of kDropColumns.
template <int N>
__device__ __forceinline__ void drop_columns(const DropoutMask& mask, std::int32_t sample,
                                             std::int32_t position, Index column, float (&value)[N]) {
    static_assert(N % kDropColumns == 0);
    const float scale = static_cast<float>(mask.scale);
#pragma unroll
    for (int j = 0; j < N; j += kDropColumns) {
        const auto group = static_cast<std::uint32_t>((column + j) / kDropColumns);
        const PhiloxCounter words = dropout_words(mask, sample, position, group);
#pragma unroll
        for (int i = 0; i < kDropColumns; ++i) {
            value[j + i] = words[i] < mask.threshold ? rounded_product(value[j + i], scale) : 0.0f;
        }
    }
}

}  // namespace moegrad::cuda
