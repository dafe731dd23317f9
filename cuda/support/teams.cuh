#pragma once
// Rows of few columns. A team of 1, 2, 4, .. 32 neighbouring lanes takes a row; a lane has the columns lane, lane + size, ..
// so that reads are coalesced whatever the width:
//     for (Index c = team.lane; c < E; c += team.size) ...
// Sums go over a lane's columns in order, then over lanes by distance size / 2, .. 2, 1: one order for every width.

#include <moegrad/cuda/support/rows.cuh>

namespace moegrad::cuda {
namespace {

struct Team {
    Index lane;  // the first column of this lane; behind every column where the team has no row
    int size;

    /// Whether this lane writes what the row has one of.
    __device__ __forceinline__ bool leads() const { return lane == 0; }
};

inline constexpr Index kNoColumn = Index{1} << 62;

/// Lanes for rows of `columns`.
inline int team_size(Index columns) {
    int size = 1;
    while (size < kWarp && size < columns) size *= 2;
    return size;
}

/// The thread's row of `rows`, when its warp's rows begin at `first`. Without a row it is the last one, with no column.
__device__ __forceinline__ Index team_row(Index first, Index rows, int size, Team& team) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const Index row = first + lane / size;
    team = {row < rows ? lane % size : kNoColumn, size};
    return row < rows ? row : rows - 1;
}

template <class Body>
__global__ void __launch_bounds__(kThreads)
    teams_kernel(EarlierKernels earlier, Index rows, int size, Body body) {
    earlier.wait();
    const Index step = static_cast<Index>(gridDim.x) * (kThreads / size);
    Index first = static_cast<Index>(blockIdx.x) * (kThreads / size) + threadIdx.x / kWarp * (kWarp / size);
    for (; first < rows; first += step) {  // the lanes of a warp stay together
        Team team;
        const Index row = team_row(first, rows, size, team);
        body(row, team);
    }
}

/// body(row, team) for 0 <= row < rows; all 32 lanes of a warp are in it together.
/// body: [=] __device__(Index row, Team team) { ... }
template <class Body>
void teams(const char* place, cudaStream_t stream, Index rows, Index columns, Body body) {
    const int size = team_size(columns);
    launch_early(place, teams_kernel<Body>, dim3(blocks_for(rows, kThreads / size)), dim3(kThreads), 0,
                 stream, rows, size, body);
}

/// The same in every lane of the team.
template <class Number>
__device__ __forceinline__ Number team_sum(const Team& team, Number x) {
    for (int distance = team.size / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, distance);
    return x;
}
__device__ __forceinline__ float team_max(const Team& team, float x) {
    for (int distance = team.size / 2; distance > 0; distance /= 2) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, distance));
    }
    return x;
}
__device__ __forceinline__ unsigned long long team_max(const Team& team, unsigned long long x) {
    for (int distance = team.size / 2; distance > 0; distance /= 2) {
        const unsigned long long other = __shfl_xor_sync(0xffffffffu, x, distance);
        x = other > x ? other : x;
    }
    return x;
}

/// Largest of a row's values; NaN is passed over, a row of nothing gives -inf.
__device__ __forceinline__ float row_max(const Team& team, Index columns, const float* x) {
    float largest = -INFINITY;
    for (Index c = team.lane; c < columns; c += team.size) largest = fmaxf(largest, x[c]);
    return team_max(team, largest);
}

/// Sum of term(c), 0 <= c < columns.
template <class Term>
__device__ __forceinline__ float row_sum(const Team& team, Index columns, Term term) {
    float sum = 0;
    for (Index c = team.lane; c < columns; c += team.size) sum += term(c);
    return team_sum(team, sum);
}

}  // namespace
}  // namespace moegrad::cuda
