#pragma once
// The emulator has no tensor cores: grouped products of bf16 take the plain kernels of grouped_fma.cuh.

#include <cuda_runtime.h>

#include <moegrad/cuda/support/grouped_operands.cuh>
#include <moegrad/cuda/support/grouped_rank_sums.cuh>

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
                               View<float, 1>, View<float, 3>, Write) {
    return false;
}

/// The parts of one group as grouped_rank_gradient.cuh leaves them, so that their sums are tested.
inline bool fast_rank_parts(cudaStream_t stream, const RankParts& g) {
    const Index N = g.dy.extent(0), O = g.B.extent(0), R = g.B.extent(1);
    groups<1>("rank_gradient", stream, g.cut.slices * N, R, nullptr, [=](Index i, Index r) {
        const Index slice = i / N, n = i % N, end = std::min((slice + 1) * g.cut.slice, O);
        float sum = 0;
        for (Index o = slice * g.cut.slice; o < end; ++o) sum += wide(g.dy(n, o)) * wide(g.B(o, r));
        g.du[i * R + r] = sum;
    });
    groups<1>("rank_gradient", stream, g.cut.pieces * O, R, nullptr, [=](Index i, Index r) {
        const Index piece = i / O, o = i % O, end = std::min((piece + 1) * g.cut.piece, N);
        float sum = 0;
        for (Index n = piece * g.cut.piece; n < end; ++n) sum += wide(g.dy(n, o)) * wide(g.u(n, r));
        g.dB[i * R + r] = sum;
    });
    return true;
}

}  // namespace moegrad::cuda::grouped
