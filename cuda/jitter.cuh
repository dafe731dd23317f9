#pragma once
// CUDA kernels of ops/jitter.hpp: a thread takes eight columns, two draws, 16 bytes of bf16; four where rows are not aligned.
// bf16: dx is rounded once, and once more with a sum into it.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/jitter.hpp>

namespace moegrad::cuda::jitter {
namespace {

inline constexpr int kDrawn = 4;  // columns of a draw

template <class From, class To>
struct Jitter {
    View<const From, 2> from;
    TokenKeys tokens;
    DrawKey draw;
    NoiseRange range;
    View<To, 2> to;
    Write write;

    /// Columns c .. c + 3 times their draw.
    __device__ __forceinline__ void scale(PhiloxKey key, Index t, Index c, float* value) const {
        double u[kDrawn];
        range.draw(key, tokens.sample(t), tokens.position(t), c / kDrawn, u);
#pragma unroll
        for (int j = 0; j < kDrawn; ++j) value[j] *= static_cast<float>(u[j]);
    }
};

/// kWide: N columns at once; else the up to N that are left, one by one.
template <bool kWide, int N, class From, class To>
__global__ void __launch_bounds__(kThreads) jitter_kernel(Jitter<From, To> p, const StepScalars* scalars) {
    const PhiloxKey key = noise_key(p.draw, *scalars);
    const Index D = p.to.extent(1), in_row = (D + N - 1) / N, n = p.to.extent(0) * in_row;
    const Index step = static_cast<Index>(gridDim.x) * blockDim.x;
    for (Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
        const Index t = i / in_row, c = (i - t * in_row) * N;
        const From* from = p.from.row(t) + c;
        To* to = p.to.row(t) + c;
        if constexpr (kWide) {
            const auto read = Values<From, N>::load(from);
            Values<To, N> values;
#pragma unroll
            for (int j = 0; j < N; ++j) values[j] = read[j];
#pragma unroll
            for (int j = 0; j < N; j += kDrawn) p.scale(key, t, c + j, values.value + j);
            values.put(to, p.write);
        } else {
            float value[N] = {};
            for (int j = 0; j < N && c + j < D; ++j) value[j] = wide(from[j]);
            p.scale(key, t, c, value);
            for (int j = 0; j < N && c + j < D; ++j) put(to[j], value[j], p.write);
        }
    }
}

template <class From, class To>
void multiply(Stream stream, View<const From, 2> from, TokenKeys tokens, DrawKey draw, NoiseRange range,
              View<To, 2> to, Write write) {
    constexpr int kWide = 2 * kDrawn;
    const bool wide = to.extent(1) % kWide == 0 && all_aligned(from, to);
    const Index in_row = (to.extent(1) + kDrawn - 1) / (wide ? kWide : kDrawn);
    const auto kernel = wide ? jitter_kernel<true, kWide, From, To> : jitter_kernel<false, kDrawn, From, To>;
    launch("jitter", kernel, dim3(blocks_for(to.extent(0) * in_row, kThreads)), dim3(kThreads), 0,
           cuda_stream(stream), Jitter<From, To>{from, tokens, draw, range, to, write}, scalars(stream));
}

template <class Real>
void apply(Stream stream, View<const Real, 2> x, TokenKeys tokens, DrawKey draw, NoiseRange range,
           View<float, 2> y) {
    multiply(stream, x, tokens, draw, range, y, Write::overwrite);
}

template <class Real>
constexpr JitterKernels<Real> kernels{apply<Real>, multiply<float, Real>};

}  // namespace
}  // namespace moegrad::cuda::jitter

MOEGRAD_CUDA_SEATS(jitter)
