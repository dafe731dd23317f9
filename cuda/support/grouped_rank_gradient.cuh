#pragma once
// du and dB of an adapter in one reading of dy, ranks 8, 16, 24 and 32:
//     du[n] = s dy[n] B[e],      dB[e] (+)= sum_n dy[n]^T u[n]          n a row of expert e
//
//     a block: all rows of an expert, or a piece of one      a ring of stages of 32 rows: u [32, W], and of dy
//     group's, a slice of 512, 256 or 128 columns
//            dy                                                 warp 0      warp 1      warp 2      warp 3
//       +---+---+---+                                            slice / 4   slice / 4   slice / 4   slice / 4
//     e |   | | |   |        B [slice / 4, R] and the sum of dB [slice / 4, R]: each warp's own, in registers to the last row
//       |   | v |   |        du [32, R]: a part of each warp to where its dy was, then the sum of the four to
//       +---+---+---+                    parts [slices, N, R] in float
//
// W is 16 or 32 ranks, zeros from R on. B and dB of slice / 4 columns lie in a warp's registers, and du [32, W] in float where
// its dy was: of 32 ranks slices of 256 columns are the most that the one holds and the fewest that the other needs.
// A second kernel adds the slices' parts, scales and rounds (grouped_rank_sums.cuh). A byte of a part, written and read, stands
// for 16 bytes of dy at 512 columns and R = 16, 4 at 128, or at 256 and R = 32: wide slices are better, narrower ones give each
// multiprocessor a block where a stack has few columns (rank_slice). 64 KiB a block are on their way by cp.async, two blocks an
// SM; each warp brings the columns that it multiplies. mma.sync takes dy once as it lies (ldmatrix) and once turned (.trans), a
// fifth of the tensor cores' time at the rate of memory, of 32 ranks two fifths.
// The rows of an expert are not cut between blocks: it would cost parts of dB and another sum, and the few blocks of one long
// expert keep the memory busy alone (56 in Mixtral's gate and up). One group has few columns for all its rows (8 blocks in
// a Linear of 4,096): there the rows are cut, and dB of a piece is a part as well.
// du is a chain over a warp's columns, then over the warps and the slices; dB a chain over the rows, 16 at a time, then over
// the pieces. No atomics.

#include <moegrad/cuda/support/device_language.cuh>
#include <moegrad/cuda/support/grouped_operands.cuh>
#include <moegrad/cuda/support/warp_matrices.cuh>
#include <moegrad/ops/rank_slices.hpp>

namespace moegrad::cuda::grouped {

inline constexpr int kRankWarps = 4;
inline constexpr int kRankThreads = 32 * kRankWarps;

struct RankGradient {
    const bf16 *dy, *B, *u;
    Index dy_pitch, B_pitch, u_pitch;
    float *part, *dB;
    Index part_slice, dB_pitch;  // of part: from slice to slice
    int columns, rank;
    Write write;
    const std::int32_t* expert_begin;  // null: one group, whose dB are parts [pieces, O, R]
    int rows = 0, piece = 0;           // of one group

    __device__ bool one_group() const { return expert_begin == nullptr; }
};

/// One stage, and what a lane does with it. Columns: of a warp; Width: ranks.
template <int Columns, int Width>
struct RankStage {
    static constexpr int kParts = Columns / 16, kPairs = Width / 16;    // a lane's tiles of B
    static constexpr int kRowBytesU = Width * 2, kChunksU = Width / 8;  // of a row of u or B
    static constexpr int kRowBytes = Columns < 64 ? Columns * 2 : 128;  // of a panel of 64 columns or fewer
    static constexpr int kWarpBytes = kRankRows * Columns * 2;
    static constexpr int kBytesU = kRankRows * kRowBytesU;
    static constexpr int kBytes = kRankWarps * kWarpBytes + kBytesU;
    static constexpr int kStages = 99 * 1024 / kBytes;  // what every card since sm_80 gives a block
    static constexpr int kSlice = kRankWarps * Columns;
    static_assert(kWarpBytes >= kRankRows * Width * 4, "a part of du lies where dy was");
    static_assert(kBytes >= kSlice * kRowBytesU, "B passes through a stage");

    /// Where a chunk of 8 columns of dy lies among those of a warp.
    __device__ static int place(int row, int chunk) {
        constexpr int kChunks = kRowBytes / 16;
        return chunk / kChunks * (kRankRows * kRowBytes) + place_chunk<kRowBytes>(row, chunk % kChunks);
    }

    /// Rows row .. row + 31, zeros from `end` on and beyond the last column. column: of the warp.
    __device__ static void load(const RankGradient& p, int column, int row, int end, hopper::Address to) {
        constexpr int kChunks = Columns / 8, kStep = 32 / kChunks;
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, chunk = lane % kChunks;
        const int at = column + 8 * chunk, first_row = lane / kChunks;
        const bf16* from = p.dy + (row + first_row) * p.dy_pitch + at;
        const Index step = kStep * p.dy_pitch;
#pragma unroll
        for (int r = first_row; r < kRankRows; r += kStep, from += step) {
            const bool there = row + r < end && at < p.columns;
            copy_chunk<true>(to + warp * kWarpBytes + place(r, chunk), there ? from : p.dy, there ? 8 : 0);
        }
        if (threadIdx.x < kChunksU * kRankRows) {
            const int r = threadIdx.x / kChunksU, n = row + r, first = threadIdx.x % kChunksU * 8;
            const bool there = n < end && first < p.rank;
            copy_chunk<true>(to + kRankWarps * kWarpBytes + place_chunk<kRowBytesU>(r, first / 8),
                             there ? p.u + n * p.u_pitch + first : p.u, there ? 8 : 0);
        }
    }
    /// B [slice, R] of one expert, through a stage that no rows use yet. column: of the slice.
    __device__ static void load_factor(const RankGradient& p, int expert, int column, hopper::Address to) {
#pragma unroll
        for (int i = threadIdx.x; i < kChunksU * kSlice; i += kRankThreads) {
            const int o = i / kChunksU, first = i % kChunksU * 8;
            const bool there = column + o < p.columns && first < p.rank;
            const Index row = static_cast<Index>(expert) * p.columns + column + o;
            copy_chunk<true>(to + place_chunk<kRowBytesU>(o, first / 8),
                             there ? p.B + row * p.B_pitch + first : p.B, there ? 8 : 0);
        }
    }
    /// 16 rows and 16 ranks of u or B, for multiply_16.
    __device__ static void read_pair(hopper::Address from, int row, int pair, int lane,
                                     std::uint32_t (&to)[4]) {
        load_turned_matrices(to, from + place_chunk<kRowBytesU>(row + lane % 16, 2 * pair + lane / 16));
    }
    __device__ static void read_factor(hopper::Address from, int warp, int lane,
                                       std::uint32_t (&B)[kParts][kPairs][4]) {
#pragma unroll
        for (int c = 0; c < kParts; ++c) {
#pragma unroll
            for (int w = 0; w < kPairs; ++w) read_pair(from, warp * Columns + 16 * c, w, lane, B[c][w]);
        }
    }

    /// sum[r] += a b[r], r of Width ranks, 8 at a time.
    __device__ static void multiply_ranks(const std::uint32_t (&a)[4], const std::uint32_t (&b)[kPairs][4],
                                          float (&sum)[Width / 2]) {
#pragma unroll
        for (int w = 0; w < kPairs; ++w) {
            multiply_16(&sum[8 * w], a, b[w][0], b[w][1]);
            multiply_16(&sum[8 * w + 4], a, b[w][2], b[w][3]);
        }
    }
    /// du[m] += dy B of rows 16 m .. 16 m + 15;  dB[c] += dy^T u of columns 16 c .. 16 c + 15.
    __device__ static void multiply(hopper::Address from, int warp, int lane,
                                    const std::uint32_t (&B)[kParts][kPairs][4], float (&du)[2][Width / 2],
                                    float (&dB)[kParts][Width / 2]) {
        const hopper::Address dy = from + warp * kWarpBytes, from_u = from + kRankWarps * kWarpBytes;
        std::uint32_t u[2][kPairs][4];
#pragma unroll
        for (int m = 0; m < 2; ++m) {
#pragma unroll
            for (int w = 0; w < kPairs; ++w) read_pair(from_u, 16 * m, w, lane, u[m][w]);
        }
#pragma unroll
        for (int c = 0; c < kParts; ++c) {
            std::uint32_t along[2][4], across[2][4];
#pragma unroll
            for (int m = 0; m < 2; ++m) {
                load_matrices(along[m], dy + place(16 * m + lane % 16, 2 * c + lane / 16));
                load_turned_matrices(across[m],
                                     dy + place(16 * m + lane % 8 + lane / 16 * 8, 2 * c + lane / 8 % 2));
            }
#pragma unroll
            for (int m = 0; m < 2; ++m) multiply_ranks(along[m], B[c], du[m]);
#pragma unroll
            for (int m = 0; m < 2; ++m) multiply_ranks(across[m], u[m], dB[c]);
        }
    }
};

/// Where value r of row n of a part lies: blocks of 8 change places from row to row, for the banks.
template <int Width>
__device__ __forceinline__ int place_part(int row, int block, int within) {
    constexpr int kBlocks = Width / 8;
    return row * Width + (block ^ (row * kBlocks / 4 % kBlocks)) * 8 + within;
}

/// A warp's part of du [32, W] to where its dy lay.
template <int Width>
__device__ __forceinline__ void keep_part(float* part, int lane, const float (&du)[2][Width / 2]) {
#pragma unroll
    for (int i = 0; i < Width / 2; ++i) {
        const int m = i / (Width / 4), block = i / 2 % (Width / 8), half = i % 2;
        const int row = 16 * m + 8 * half + lane / 4;
        *reinterpret_cast<float2*>(part + place_part<Width>(row, block, lane % 4 * 2)) =
            make_float2(du[m][4 * block + 2 * half], du[m][4 * block + 2 * half + 1]);
    }
}

/// The sum of the warps' parts, in order: four values a thread. `distance` floats from warp to warp.
template <int Width>
__device__ __forceinline__ void put_parts(const RankGradient& p, const float* parts, int distance, int row,
                                          int end) {
    constexpr int kFours = Width / 4;
#pragma unroll
    for (int n = 0; n < kRankRows * kFours / kRankThreads; ++n) {
        const int i = n * kRankThreads + threadIdx.x, r = i / kFours, first = i % kFours * 4;
        float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
        for (int warp = 0; warp < kRankWarps; ++warp) {
            const float4 one = *reinterpret_cast<const float4*>(parts + warp * distance +
                                                                place_part<Width>(r, first / 8, first % 8));
            sum.x += one.x, sum.y += one.y, sum.z += one.z, sum.w += one.w;
        }
        if (row + r >= end || first >= p.rank) continue;
        float* to = p.part + blockIdx.x * p.part_slice + static_cast<Index>(row + r) * p.rank + first;
        *reinterpret_cast<float4*>(to) = sum;
    }
}

/// dB [slice / 4, R] of a warp; column: its first.
template <int Parts, int Held>
__device__ __forceinline__ void put_factor(const RankGradient& p, int expert, int column, int lane,
                                           const float (&dB)[Parts][Held]) {
#pragma unroll
    for (int i = 0; i < Parts * Held / 2; ++i) {
        const int c = i / (Held / 2), block = i / 2 % (Held / 4), half = i % 2;
        const int o = column + 16 * c + 8 * half + lane / 4, r = 8 * block + lane % 4 * 2;
        if (o >= p.columns || r >= p.rank) continue;
        float2 sum = make_float2(dB[c][4 * block + 2 * half], dB[c][4 * block + 2 * half + 1]);
        auto* to =
            reinterpret_cast<float2*>(p.dB + (static_cast<Index>(expert) * p.columns + o) * p.dB_pitch + r);
        if (p.write == Write::accumulate) sum.x += to->x, sum.y += to->y;
        *to = sum;
    }
}

namespace {

template <int Columns, int Width>
__global__ void __launch_bounds__(kRankThreads, 2)
    grouped_rank_gradient(const __grid_constant__ RankGradient p) {
    using Stage = RankStage<Columns, Width>;
    constexpr int kStages = Stage::kStages;
    auto* const memory = dynamic_shared<unsigned char>();
    const hopper::Address stages = hopper::shared_address(memory);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, expert = blockIdx.y;  // or piece
    const int slice = blockIdx.x * Stage::kSlice, column = slice + warp * Columns;
    const int begin = p.one_group() ? expert * p.piece : p.expert_begin[expert];
    const int end = p.one_group() ? min(begin + p.piece, p.rows) : p.expert_begin[expert + 1];
    const int steps = (end - begin + kRankRows - 1) / kRankRows;
    float dB[Stage::kParts][Width / 2] = {};
    std::uint32_t B[Stage::kParts][Stage::kPairs][4];
    if (steps > 0)
        Stage::load_factor(p, p.one_group() ? 0 : expert, slice, stages + (kStages - 1) * Stage::kBytes);
    for (int step = 0; step < kStages - 1; ++step) {
        if (step < steps)
            Stage::load(p, column, begin + step * kRankRows, end, stages + step * Stage::kBytes);
        close_copies();
    }
    wait_for_copies<kStages - 2>();
    __syncthreads();
    if (steps > 0) Stage::read_factor(stages + (kStages - 1) * Stage::kBytes, warp, lane, B);
    for (int step = 0; step < steps; ++step) {
        wait_for_copies<kStages - 2>();
        __syncthreads();
        const int next = step + kStages - 1, row = begin + step * kRankRows;
        if (next < steps)
            Stage::load(p, column, begin + next * kRankRows, end, stages + next % kStages * Stage::kBytes);
        close_copies();
        const int at = step % kStages * Stage::kBytes;
        float du[2][Width / 2] = {};
        Stage::multiply(stages + at, warp, lane, B, du, dB);
        __syncwarp();  // all lanes have read what the part takes the place of
        auto* const parts = reinterpret_cast<float*>(memory + at);
        keep_part<Width>(parts + warp * (Stage::kWarpBytes / 4), lane, du);
        __syncthreads();
        put_parts<Width>(p, parts, Stage::kWarpBytes / 4, row, end);
    }
    put_factor(p, expert, column, lane, dB);
}

template <int Columns, int Width = 16>
void launch_slices(cudaStream_t stream, const RankGradient& p, Index slices, Index pieces) {
    using Stage = RankStage<Columns, Width>;
    launch("rank_gradient", grouped_rank_gradient<Columns, Width>,
           dim3(static_cast<unsigned>(slices), static_cast<unsigned>(pieces)), dim3(kRankThreads),
           Stage::kStages * Stage::kBytes, stream, p);
}

/// slice: of rank_slice; pieces: or experts.
inline void launch_rank_gradient(cudaStream_t stream, const RankGradient& p, Index slice, Index pieces) {
    const Index slices = (p.columns + slice - 1) / slice;
    if (p.rank > 16) return launch_slices<64, 32>(stream, p, slices, pieces);
    switch (slice) {
        case 512: return launch_slices<128>(stream, p, slices, pieces);
        case 256: return launch_slices<64>(stream, p, slices, pieces);
        default: return launch_slices<32>(stream, p, slices, pieces);
    }
}

}  // namespace
}  // namespace moegrad::cuda::grouped
