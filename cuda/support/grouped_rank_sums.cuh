#pragma once
// The sums of the parts that grouped_rank_gradient.cuh leaves:
//     du[n] = factor * sum over slices of du_parts[slice, n],   dB (+)= sum over pieces of dB_parts[piece]
// in order, four values a thread; du is rounded once.

#include <moegrad/cuda/support/grouped_operands.cuh>
#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/ops/rank_slices.hpp>

namespace moegrad::cuda::grouped {

/// One group whose rows are cut: the parts of du [slices, N R], behind them those of dB [pieces, O R].
struct RankParts {
    View<const bf16, 2> dy, B, u;  // dy [N, O], B [O, R], u [N, R]
    RankCut cut;
    float *du, *dB;

    static RankParts of(View<const bf16, 2> dy, View<const bf16, 2> B, View<const bf16, 2> u,
                        View<float, 1> parts) {
        const RankCut cut = rank_cut(dy.extent(0), B.extent(0), B.extent(1));
        return {dy, B, u, cut, parts.data, parts.data + cut.slices * dy.extent(0) * B.extent(1)};
    }
};

namespace {

/// The sum over `count` parts, `distance` values from part to part.
__device__ __forceinline__ Values<float, 4> sum_parts(const float* from, Index count, Index distance) {
    auto sum = Values<float, 4>::all(0);
#pragma unroll 8
    for (Index i = 0; i < count; ++i) {
        const auto one = Values<float, 4>::load(from + i * distance);
#pragma unroll
        for (int v = 0; v < 4; ++v) sum[v] += one[v];
    }
    return sum;
}

/// du [most, R]; `rows` [1]: how many exist, null: all.
inline void add_slices(cudaStream_t stream, const float* parts, Index slices, Index most,
                       const std::int32_t* rows, const Store<bf16>& du) {
    const Index R = du.columns;
    groups<4>("rank_gradient: du", stream, most, R, rows, [=] __device__(Index n, Index r) {
        const auto sum = sum_parts(parts + n * R + r, slices, most * R);
        Values<bf16, 4> result;
#pragma unroll
        for (int i = 0; i < 4; ++i) result[i] = du.factor * sum[i];
        result.store(du.c + n * du.pitch + r);
    });
}

inline void add_pieces(cudaStream_t stream, const float* parts, Index pieces, View<float, 2> dB,
                       Write write) {
    const Index O = dB.extent(0), R = dB.extent(1);
    groups<4>("rank_gradient: dB", stream, O, R, nullptr, [=] __device__(Index o, Index r) {
        sum_parts(parts + o * R + r, pieces, O * R).put(dB.row(o) + r, write);
    });
}

}  // namespace
}  // namespace moegrad::cuda::grouped
