#pragma once
// CUDA kernel of ops/lora_norm.hpp: a warp makes two rows of V in registers and adds their squares, all in float. w is read once
// and A [R, D] comes from a cache; the sum over |w|^2, w A and A A of the header would be three kernels for less work than a
// launch takes.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/lora_norm.hpp>

namespace moegrad::cuda::lora_norm {
namespace {

inline constexpr int kRowsOfWarp = 2;

template <int N, class Real>
void norms_of(cudaStream_t stream, View<const Real, 2> w, View<const Real, 2> A, View<const Real, 2> B,
              float s, View<float, 1> n) {
    const Index O = w.extent(0), D = w.extent(1), R = A.extent(0);
    warps("lora_norm", stream, (O + kRowsOfWarp - 1) / kRowsOfWarp, [=] __device__(Index i, int lane) {
        const Index first = i * kRowsOfWarp, second = min(first + 1, O - 1);
        float sums[kRowsOfWarp] = {};
        for (Index d = static_cast<Index>(lane) * N; d < D; d += kWarp * N) {
            auto v = Values<Real, N>::load(w.row(first) + d), u = Values<Real, N>::load(w.row(second) + d);
            for (Index r = 0; r < R; ++r) {
                const auto a = Values<Real, N>::load(A.row(r) + d);
                const float b = s * wide(B(first, r)), c = s * wide(B(second, r));
#pragma unroll
                for (int j = 0; j < N; ++j) v[j] += b * a[j], u[j] += c * a[j];
            }
#pragma unroll
            for (int j = 0; j < N; ++j) sums[0] += v[j] * v[j], sums[1] += u[j] * u[j];
        }
        for (int row = 0; row < kRowsOfWarp; ++row) {
            const float square = warp_sum(sums[row]);
            if (lane == 0 && first + row < O) n(first + row) = sqrtf(square);
        }
    });
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
