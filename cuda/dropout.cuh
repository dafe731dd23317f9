#pragma once
// CUDA kernel of ops/dropout.hpp: a thread takes 16 bytes of a row, or four columns of it where rows are not aligned.
// bf16: y is rounded once, and once more with a sum into it.

#include <moegrad/cuda/support/drop.cuh>
#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>

namespace moegrad::cuda::dropout {
namespace {

/// kWide: N columns at once; else the up to N that are left, one by one.
template <bool kWide, int N, class Real>
__global__ void __launch_bounds__(kThreads)
    apply_kernel(View<const Real, 2> x, TokenKeys keys, const StepScalars* scalars, Dropout dropout,
                 View<Real, 2> y, Write write) {
    const DropoutMask mask = block_mask(scalars, dropout);
    const Index D = x.extent(1), in_row = (D + N - 1) / N, n = x.extent(0) * in_row;
    const Index step = static_cast<Index>(gridDim.x) * blockDim.x;
    for (Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
        const Index t = i / in_row, c = (i - t * in_row) * N;
        const Real* from = x.row(t) + c;
        Real* to = y.row(t) + c;
        if constexpr (kWide) {
            auto values = Values<Real, N>::load(from);
            drop_columns(mask, keys.sample(t), keys.position(t), c, values.value);
            values.put(to, write);
        } else {
            float value[N] = {};
            for (int j = 0; j < N && c + j < D; ++j) value[j] = wide(from[j]);
            drop_columns(mask, keys.sample(t), keys.position(t), c, value);
            for (int j = 0; j < N && c + j < D; ++j) put(to[j], value[j], write);
        }
    }
}

template <class Real>
void apply(Stream stream, View<const Real, 2> x, TokenKeys keys, Dropout dropout, View<Real, 2> y,
           Write write) {
    const bool wide = all_aligned(x, y);
    const Index N = wide ? kPack<Real> : kDropColumns;
    const auto kernel =
        wide ? apply_kernel<true, kPack<Real>, Real> : apply_kernel<false, kDropColumns, Real>;
    launch("dropout", kernel, dim3(blocks_for(x.extent(0) * ((x.extent(1) + N - 1) / N), kThreads)),
           dim3(kThreads), 0, cuda_stream(stream), x, keys, scalars(stream), dropout, y, write);
}

template <class Real>
constexpr DropoutKernels<Real> kernels{apply<Real>};

}  // namespace
}  // namespace moegrad::cuda::dropout

MOEGRAD_CUDA_SEATS(dropout)
