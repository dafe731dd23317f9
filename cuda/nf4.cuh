#pragma once
// CUDA kernel of ops/nf4.hpp: 16 bytes of w a thread at a time, the tables in shared memory. bf16: rounded
// once.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/nf4.hpp>

namespace moegrad::cuda::nf4 {
namespace {

struct Tables {
    float map[256], book[16];
};

/// nf4_maximum, whose product nvcc would narrow to float and fuse with the sum.
__device__ __forceinline__ float maximum_at(const Tables& tables, const Nf4View& matrix, Index at) {
    const Index block = at / kNf4Block;
    const float map = tables.map[matrix.scale[block]], large = matrix.large[block / kNf4ScaleBlock];
    return __fadd_rn(__fmul_rn(map, large), matrix.mean);
}
__device__ __forceinline__ float value_at(const Tables& tables, const Nf4View& matrix, Index at) {
    const int both = matrix.code[at / 2];
    return tables.book[at % 2 == 0 ? both >> 4 : both & 15];
}

/// Packs: rows of w begin at 16 bytes and hold whole packs; none crosses a block of 64, nor a byte of codes.
template <class Real, bool Packs>
__global__ void __launch_bounds__(kThreads) dequantise_kernel(const Nf4View matrix, const View<Real, 2> w) {
    constexpr int kEach = Packs ? Pack<Real>::kSize : 1;
    __shared__ Tables tables;
    const int thread = static_cast<int>(threadIdx.x);
    tables.map[thread] = nf4_map(thread);
    if (thread < 16) tables.book[thread] = nf4_value(thread);
    __syncthreads();
    const Index columns = w.extent(1), n = w.extent(0) * columns / kEach;
    const Index step = static_cast<Index>(gridDim.x) * kThreads;
    for (Index i = static_cast<Index>(blockIdx.x) * kThreads + thread; i < n; i += step) {
        const Index at = i * kEach;
        Real* to = w.row(at / columns) + at % columns;
        const float maximum = maximum_at(tables, matrix, at);
        if constexpr (Packs) {
            Pack<Real> pack;
#pragma unroll
            for (int k = 0; k < kEach; ++k) pack.value[k] = value_at(tables, matrix, at + k) * maximum;
            pack.store(to);
        } else {
            *to = narrow<Real>(value_at(tables, matrix, at) * maximum);
        }
    }
}

template <class Real>
void dequantise(Stream stream, Nf4View matrix, View<Real, 2> w) {
    const bool packs = aligned(w);
    const Index n = w.size() / (packs ? Pack<Real>::kSize : 1);
    launch("nf4", packs ? dequantise_kernel<Real, true> : dequantise_kernel<Real, false>,
           blocks_for(n, kThreads), kThreads, 0, cuda_stream(stream), matrix, w);
}

template <class Real>
constexpr Nf4Kernels<Real> kernels{dequantise<Real>};

}  // namespace
}  // namespace moegrad::cuda::nf4

MOEGRAD_CUDA_SEATS(nf4)
