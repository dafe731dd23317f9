#pragma once
// CUDA kernel of ops/lora_norm.hpp: a block makes four rows of V in registers and adds their squares, all in float. w is read
// once and A [R, D] comes from a cache; the sum over |w|^2, w A and A A of the header would be three kernels for less work than a
// launch takes. A warp a row, as it was, waited: 512 rows of 2,048 columns took as long as 2,048 of them.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/lora_norm.hpp>

namespace moegrad::cuda::lora_norm {
namespace {

inline constexpr int kRows = 4;  // of a block

template <int N, class Real>
__global__ void __launch_bounds__(kThreads)
    norms_kernel(EarlierKernels earlier, View<const Real, 2> w, View<const Real, 2> A, View<const Real, 2> B,
                 float s, View<float, 1> n) {
    earlier.wait();
    const Index O = w.extent(0), D = w.extent(1), R = A.extent(0);
    for (Index first = blockIdx.x * Index{kRows}; first < O; first += gridDim.x * Index{kRows}) {
        float sums[kRows] = {};
        for (Index d = static_cast<Index>(threadIdx.x) * N; d < D; d += Index{kThreads} * N) {
            Values<Real, N> v[kRows];
#pragma unroll
            for (int i = 0; i < kRows; ++i) v[i] = Values<Real, N>::load(w.row(min(first + i, O - 1)) + d);
            for (Index r = 0; r < R; ++r) {
                const auto a = Values<Real, N>::load(A.row(r) + d);
#pragma unroll
                for (int i = 0; i < kRows; ++i) {
                    const float b = s * wide(B(min(first + i, O - 1), r));
#pragma unroll
                    for (int j = 0; j < N; ++j) v[i][j] += b * a[j];
                }
            }
#pragma unroll
            for (int i = 0; i < kRows; ++i) {
#pragma unroll
                for (int j = 0; j < N; ++j) sums[i] += v[i][j] * v[i][j];
            }
        }
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
            const float square = block_sum(sums[i]);
            if (threadIdx.x == 0 && first + i < O) n(first + i) = sqrtf(square);
        }
    }
}

template <int N, class Real>
void norms_of(cudaStream_t stream, View<const Real, 2> w, View<const Real, 2> A, View<const Real, 2> B,
              float s, View<float, 1> n) {
    launch_early("lora_norm", norms_kernel<N, Real>, dim3(blocks_for(w.extent(0), kRows)), dim3(kThreads), 0,
                 stream, w, A, B, s, n);
}

template <class Real>
void norms(Stream stream, View<const Real, 2> w, View<const Real, 2> A, View<const Real, 2> B, double scale,
           LoraNormRoom<Real>, View<float, 1> n) {
    const float s = static_cast<float>(scale);
    all_aligned(w, A) ? norms_of<kPack<Real>>(cuda_stream(stream), w, A, B, s, n)
                      : norms_of<1>(cuda_stream(stream), w, A, B, s, n);
}

template <class Real>
constexpr LoraNormKernels<Real> kernels{norms<Real>};

}  // namespace
}  // namespace moegrad::cuda::lora_norm

MOEGRAD_CUDA_SEATS(lora_norm)
