#pragma once
// du and dB in one reading of dy: the parts of grouped_rank_gradient.cuh and their sums
//     du[n] = factor * sum over slices of part[slice, n],      of one group dB (+)= sum over pieces of its part[piece]
// in order, four values a thread; du is rounded once, or kept in float.

#include <moegrad/cuda/support/grouped_rank_gradient.cuh>
#include <moegrad/cuda/support/groups.cuh>

namespace moegrad::cuda::grouped {

namespace {

/// The sum over `count` parts, `distance` values from part to part.
template <int N>
__device__ __forceinline__ Values<float, N> sum_parts(const float* from, Index count, Index distance) {
    auto sum = Values<float, N>::all(0);
#pragma unroll 8
    for (Index i = 0; i < count; ++i) {
        const auto one = Values<float, N>::load(from + i * distance);
#pragma unroll
        for (int v = 0; v < N; ++v) sum[v] += one[v];
    }
    return sum;
}

/// du [most, R]; `rows` [1]: how many exist, null: all.
template <class To>
void add_slices(cudaStream_t stream, const float* parts, Index slices, Index most, const std::int32_t* rows,
                const Store<To>& du) {
    const Index R = du.columns;
    groups<4>("rank_gradient: du", stream, most, R, rows, [=] __device__(Index n, Index r) {
        const auto sum = sum_parts<4>(parts + n * R + r, slices, most * R);
        Values<To, 4> result;
#pragma unroll
        for (int i = 0; i < 4; ++i) result[i] = du.factor * sum[i];
        result.store(du.c + n * du.pitch + r);
    });
}

/// part [O, Q]: the ranks of E experts side by side, Q >= E R; dB [E, O, R].
template <int N>
void add_pieces(cudaStream_t stream, const float* parts, Index pieces, Index Q, View<float, 3> dB,
                Write write) {
    const Index E = dB.extent(0), O = dB.extent(1), R = dB.extent(2);
    groups<N>("rank_gradient: dB", stream, O, E * R, nullptr, [=] __device__(Index o, Index c) {
        const Index e = c / R;
        sum_parts<N>(parts + o * Q + c, pieces, O * Q).put(&dB(e, o, c - e * R), write);
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

/// The same of one group, dy [N, O], B [O, Q]; the Q ranks may be those of several experts, each with its dB, and zeros behind
/// them. parts: group_rank_parts.
template <class To>
bool group_rank_gradient(cudaStream_t stream, View<const bf16, 2> dy, View<const bf16, 2> B,
                         View<const bf16, 2> u, const Store<To>& du, View<float, 1> parts, View<float, 3> dB,
                         Write write) {
    if (parts.empty() || !all_aligned(dy, B, u) || !aligned(du)) return false;
    const Index rows = dy.extent(0), columns = B.extent(0), rank = B.extent(1);
    const RankCut cut = rank_cut(rows, columns, rank);
    float* const pieces = parts.data + cut.slices * rows * rank;
    launch_rank_gradient(stream,
                         {dy.data, B.data, u.data, dy.pitch, B.pitch, u.pitch, parts.data, pieces,
                          rows * rank, rank, static_cast<int>(columns), static_cast<int>(rank),
                          Write::overwrite, nullptr, static_cast<int>(rows), static_cast<int>(cut.piece)},
                         cut.slice, cut.pieces);
    add_slices(stream, parts.data, cut.slices, rows, nullptr, du);
    const auto add = all_aligned(dB) ? add_pieces<4> : add_pieces<1>;
    add(stream, pieces, cut.pieces, rank, dB, write);
    return true;
}

}  // namespace
}  // namespace moegrad::cuda::grouped
