#pragma once
// Grouped products on the best kernels there are: bf16 on tensor cores (grouped_fast.cuh), float and what is left by
// fused multiply-adds (grouped_fma.cuh). Sums in float in one fixed order, every stored value rounded once. A product
// without a result does nothing; one without experts or depth stores what an empty sum is.

#include <moegrad/cuda/support/grouped_fast.cuh>
#include <moegrad/cuda/support/grouped_fma.cuh>
#include <moegrad/cuda/support/grouped_rank_sums.cuh>

namespace moegrad::cuda::grouped {
namespace {

/// c[n] (+)= factor * (a[src(n)] b[e]^T + a2[n] b2[e]^T)
template <class Real>
void rows(cudaStream_t stream, const Operands<Real>& x, const Store<Real>& to) {
    if (to.columns == 0 || x.experts() == 0) return;
    if constexpr (std::is_same_v<Real, bf16> && kTensorCores) return fast_rows(stream, x, to);
    fma_rows(stream, x, false, to);
}

/// c[n] (+)= factor * (a[n] b[e] + a2[n] b2[e])
template <class Real>
void rows_across(cudaStream_t stream, const Operands<Real>& x, const Store<Real>& to) {
    if (to.columns == 0 || x.experts() == 0) return;
    if constexpr (std::is_same_v<Real, bf16> && kTensorCores) return fast_rows_across(stream, x, to);
    fma_rows(stream, x, true, to);
}

/// dw[e] (+)= sum_n dy[n]^T x[src(n)]; row_token null: src(n) = n.
template <class Real>
void gram(cudaStream_t stream, View<const Real, 2> dy, View<const Real, 2> x, const std::int32_t* row_token,
          View<float, 3> dw, Write write, const std::int32_t* expert_begin) {
    if (dw.size() == 0) return;
    if constexpr (std::is_same_v<Real, bf16> && kTensorCores) {
        const GramSide left{dy.data, dy.pitch, nullptr, static_cast<int>(dw.extent(1))};
        const GramSide right{x.data, x.pitch, row_token, static_cast<int>(dw.extent(2))};
        if (fast_gram(stream, left, right, dw, write, expert_begin)) return;
    }
    fma_gram(stream, dy, x, row_token, dw, write, expert_begin);
}

/// du[n] = factor * dy[n] B[e] and dB[e] (+)= sum_n dy[n]^T u[n]; x: dy and B, to: du. parts: room for one reading of dy.
template <class Real>
void rank_gradient(cudaStream_t stream, const Operands<Real>& x, const Store<Real>& to, View<const Real, 2> u,
                   View<float, 1> parts, View<float, 3> dB, Write write) {
    if constexpr (std::is_same_v<Real, bf16>) {
        if (stack_rank_gradient(stream, x, to, u, parts, dB, write)) return;
    }
    rows_across(stream, x, to);
    gram(stream, x.a, u, nullptr, dB, write, x.expert_begin);
}

}  // namespace
}  // namespace moegrad::cuda::grouped
