#pragma once
// du and dB in one reading of dy: the parts of grouped_rank_gradient.cuh and their sums
//     du[n] = factor * sum over slices of part[slice, n],      of one group dB (+)= sum over pieces of its part[piece]
// in order, four values a thread; du is rounded once.

#include <moegrad/cuda/support/grouped_rank_gradient.cuh>
#include <moegrad/cuda/support/groups.cuh>

namespace moegrad::cuda::grouped {

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

/// Of a stack: du = factor * dy B into `to` and dB[e] (+)= sum_n dy[n]^T u[n], x: dy and B. parts: rank_parts. False where there
/// is no room for parts or rows do not start at 16 bytes: nothing is done then.
inline bool stack_rank_gradient(cudaStream_t stream, const Operands<bf16>& x, const Store<bf16>& to,
                                View<const bf16, 2> u, View<float, 1> parts, View<float, 3> dB, Write write) {
    const bool pairs = reinterpret_cast<std::uintptr_t>(dB.data) % 8 == 0 && dB.pitch % 2 == 0;
    if (parts.empty() || !pairs || !all_aligned(x.a, x.b, u) || !aligned(to)) return false;
    const Index columns = x.b.extent(1), rank = x.b.extent(2), experts = x.experts();
    const Index slice = rank_slice(experts, columns, rank), slices = (columns + slice - 1) / slice,
                part = parts.size() / slices;
    launch_rank_gradient(
        stream,
        {x.a.data, x.b.data, u.data, x.a.pitch, x.b.pitch, u.pitch, parts.data, dB.data, part, dB.pitch,
         static_cast<int>(columns), static_cast<int>(rank), write, x.expert_begin},
        slice, experts);
    add_slices(stream, parts.data, slices, part / rank, x.expert_begin + experts, to);
    return true;
}

/// The same of one group, dy [N, O], B and dB [O, R]. parts: group_rank_parts.
inline bool group_rank_gradient(cudaStream_t stream, View<const bf16, 2> dy, View<const bf16, 2> B,
                                View<const bf16, 2> u, const Store<bf16>& du, View<float, 1> parts,
                                View<float, 2> dB, Write write) {
    if (parts.empty() || !all_aligned(dy, B, u, dB) || !aligned(du)) return false;
    const Index rows = dy.extent(0), columns = B.extent(0), rank = B.extent(1);
    const RankCut cut = rank_cut(rows, columns, rank);
    float* const pieces = parts.data + cut.slices * rows * rank;
    launch_rank_gradient(stream,
                         {dy.data, B.data, u.data, dy.pitch, B.pitch, u.pitch, parts.data, pieces,
                          rows * rank, rank, static_cast<int>(columns), static_cast<int>(rank),
                          Write::overwrite, nullptr, static_cast<int>(rows), static_cast<int>(cut.piece)},
                         cut.slice, cut.pieces);
    add_slices(stream, parts.data, cut.slices, rows, nullptr, du);
    add_pieces(stream, pieces, cut.pieces, dB, write);
    return true;
}

}  // namespace
}  // namespace moegrad::cuda::grouped
