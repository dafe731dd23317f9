#pragma once
// The emulator has no tensor cores: grouped products of bf16 take the plain kernels of grouped_fma.cuh.

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
inline bool fast_rank_gradient(cudaStream_t, const Operands<bf16>&, const Store<bf16>&, View<const bf16, 2>,
                               View<float, 2>, View<float, 3>, Write) {
    return false;
}

}  // namespace moegrad::cuda::grouped
