#pragma once
// In the place of cuda/support/grouped_fast.cuh: grouped products of bf16 take the plain kernels of grouped_fma.cuh. What warps do
// with mma.sync could run as well (warp_matrices.cuh, as the low-rank gradients do); wgmma could not.

#include <cuda_runtime.h>

#include <moegrad/cuda/support/grouped_operands.cuh>

namespace moegrad::cuda::grouped {

inline constexpr bool kTensorCores = false;

template <class To>
void fast_rows(cudaStream_t, const Operands<bf16>&, const To&) {}
template <class To>
void fast_rows_across(cudaStream_t, const Operands<bf16>&, const To&) {}
inline bool fast_gram(cudaStream_t, const GramSide&, const GramSide&, const View<float, 3>&, Write,
                      const std::int32_t*) {
    return false;
}

}  // namespace moegrad::cuda::grouped
