#pragma once
// The grouped product where Hopper's path does not fit: cards from sm_80 on, and operands whose rows do not start at 16
// bytes.
//
//     a block: 128 rows of an expert by 128 columns      ring of 4 stages, 32 deep: a [128, 32], b [128, 32] or [32, 128]
//            +--------+--------+
//            | warp 0 | warp 1 |  64 by 64 each          all four warps: cp.async for the stage three ahead, then
//            +--------+--------+                         d += a b of this one, mma.sync fed by ldmatrix; one barrier
//            | warp 2 | warp 3 |                         a stage
//            +--------+--------+
//
// Two blocks an SM, 64 KiB each: one multiplies while the other waits or finishes. They take tiles from the same kind of list as
// grouped_sm90.cuh. Rows that do not start at 16 bytes come value by value (copy_chunk).
// An element of c is one chain of products of depth 16, in order.

#include <moegrad/cuda/support/device_language.cuh>
#include <moegrad/cuda/support/grouped_finish.cuh>
#include <moegrad/cuda/support/warp_matrices.cuh>
#include <moegrad/cuda/support/wgmma.cuh>

namespace moegrad::cuda::grouped {

using hopper::Major;

inline constexpr int kPlainTile = 128;
inline constexpr int kPlainDepth = 32;
inline constexpr int kPlainStages = 4;
inline constexpr int kPlainBytes = kPlainTile * kPlainDepth * 2;  // of one operand in one stage
inline constexpr int kPlainShared = kPlainStages * 2 * kPlainBytes;
inline constexpr int kPlainThreads = 128;
inline constexpr int kPlainRowGroup = 8;

/// One contraction: a [.., depth], b [E, columns, depth] or [E, depth, columns].
struct Factor {
    const bf16 *a, *b;
    Index a_pitch, b_pitch, b_slice;
    int depth, b_columns;  // columns that b really has
    bool gather;
};

template <class To>
struct PlainProduct {
    Factor factor[2];
    int factors;
    const std::int32_t *expert_begin, *row_token;
    int experts, column_tiles, column_step, distance;
    To to;
};

struct PlainTile {
    int expert, row, row_end, column_tile;
};

/// The tile-th of all experts' tiles: groups of 8 tiles of rows go together through all columns.
__device__ inline bool find_tile(const std::int32_t* begin, int experts, int columns, int tile, int& expert,
                                 int& first, PlainTile& out) {
    for (; expert < experts; ++expert) {
        const int row = begin[expert], end = begin[expert + 1],
                  rows = (end - row + kPlainTile - 1) / kPlainTile;
        if (tile < first + rows * columns) {
            const int group = (tile - first) / (kPlainRowGroup * columns);
            const int within = tile - first - group * kPlainRowGroup * columns;
            const int high = min(kPlainRowGroup, rows - group * kPlainRowGroup);
            out = {expert, row + (group * kPlainRowGroup + within % high) * kPlainTile, end, within / high};
            return true;
        }
        first += rows * columns;
    }
    return false;
}

/// Where a chunk of 16 bytes lies: rows of 4 chunks (depth along the row) or of 16 (depth across).
__device__ __forceinline__ int place(int row, int chunk) {
    return row * 64 + (chunk ^ (row / 2 % 4)) * 16;
}
__device__ __forceinline__ int place_wide(int row, int chunk) {
    return row * 256 + (chunk ^ (row % 8)) * 16;
}

/// Column of the product of column i of a tile: halves of 32 columns per 64, so that gate and up meet in a warp.
template <class To>
__device__ __forceinline__ int column_of(const PlainProduct<To>& p, const PlainTile& tile, int i) {
    return tile.column_tile * p.column_step + i / 64 * (p.column_step / 2) + i / 32 % 2 * p.distance + i % 32;
}

template <Major MajorB, bool Aligned, class To>
__device__ __forceinline__ void load_stage(const PlainProduct<To>& p, const PlainTile& tile, const Factor& f,
                                           int depth, hopper::Address to) {
    const hopper::Address to_b = to + kPlainBytes;
    const bf16* b = f.b + tile.expert * f.b_slice;
#pragma unroll
    for (int i = threadIdx.x; i < kPlainTile * 4; i += kPlainThreads) {
        const int r = i / 4, k = depth + i % 4 * 8, row = tile.row + r;
        int count = row < tile.row_end ? min(max(f.depth - k, 0), 8) : 0;
        const Index source = count > 0 ? (f.gather ? p.row_token[row] : row) * f.a_pitch + k : 0;
        copy_chunk<Aligned>(to + place(r, i % 4), f.a + source, count);
        if constexpr (MajorB == Major::k) {
            const int column = column_of(p, tile, r);
            count = column < f.b_columns ? min(max(f.depth - k, 0), 8) : 0;
            copy_chunk<Aligned>(to_b + place(r, i % 4), b + (count > 0 ? column * f.b_pitch + k : 0), count);
        } else {
            const int deep = i / 16, at = depth + deep, column = column_of(p, tile, i % 16 * 8);
            count = at < f.depth ? min(max(f.b_columns - column, 0), 8) : 0;
            copy_chunk<Aligned>(to_b + place_wide(deep, i % 16),
                                b + (count > 0 ? at * f.b_pitch + column : 0), count);
        }
    }
}

template <Major MajorB>
__device__ __forceinline__ void multiply_plain_stage(hopper::Address from, int warp, int lane,
                                                     float (&d)[4][32]) {
    const hopper::Address from_b = from + kPlainBytes;
    const int top = warp / 2 * 64, left = warp % 2 * 64;
#pragma unroll
    for (int k = 0; k < kPlainDepth / 16; ++k) {
        std::uint32_t a[4][4];
#pragma unroll
        for (int m = 0; m < 4; ++m)
            load_matrices(a[m], from + place(top + 16 * m + lane % 16, 2 * k + lane / 16));
#pragma unroll
        for (int n = 0; n < 4; ++n) {  // 16 columns
            std::uint32_t b[4];
            if constexpr (MajorB == Major::k) {
                load_matrices(b,
                              from_b + place(left + 16 * n + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
            } else {
                load_turned_matrices(b,
                                     from_b + place_wide(16 * k + lane % 16, left / 8 + 2 * n + lane / 16));
            }
#pragma unroll
            for (int m = 0; m < 4; ++m) {
                multiply_16(&d[m][8 * n], a[m], b[0], b[1]);
                multiply_16(&d[m][8 * n + 4], a[m], b[2], b[3]);
            }
        }
    }
}

template <Major MajorB, bool Aligned, class To>
__device__ __forceinline__ void plain_tile(const PlainProduct<To>& p, const PlainTile& tile,
                                           hopper::Address stages) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float d[4][32];
#pragma unroll
    for (int m = 0; m < 4; ++m) {
#pragma unroll
        for (float& x : d[m]) x = 0;
    }
    for (int n = 0; n < p.factors; ++n) {
        const Factor& f = p.factor[n];
        const int steps = (f.depth + kPlainDepth - 1) / kPlainDepth;
        __syncthreads();  // nobody still reads the stages
        for (int step = 0; step < kPlainStages - 1; ++step) {
            if (step < steps) {
                load_stage<MajorB, Aligned>(p, tile, f, step * kPlainDepth, stages + step * 2 * kPlainBytes);
            }
            close_copies();
        }
        for (int step = 0; step < steps; ++step) {
            wait_for_copies<kPlainStages - 2>();
            __syncthreads();
            const int next = step + kPlainStages - 1;
            if (next < steps) {
                load_stage<MajorB, Aligned>(p, tile, f, next * kPlainDepth,
                                            stages + next % kPlainStages * 2 * kPlainBytes);
            }
            close_copies();
            multiply_plain_stage<MajorB>(stages + step % kPlainStages * 2 * kPlainBytes, warp, lane, d);
        }
    }
#pragma unroll
    for (int m = 0; m < 4; ++m) {
        finish<Aligned>(p.to, d[m], tile.row + warp / 2 * 64 + 16 * m + lane / 4, tile.row_end,
                        column_of(p, tile, warp % 2 * 64), p.distance);
    }
}

namespace {

template <Major MajorB, bool Aligned, class To>
__global__ void __launch_bounds__(kPlainThreads, 2)
    grouped_product_sm80(const __grid_constant__ PlainProduct<To> p) {
    const hopper::Address stages = hopper::shared_address(dynamic_shared<unsigned char>());
    int expert = 0, first = 0;
    PlainTile tile;
    for (int i = blockIdx.x; find_tile(p.expert_begin, p.experts, p.column_tiles, i, expert, first, tile);
         i += gridDim.x) {
        plain_tile<MajorB, Aligned>(p, tile, stages);
    }
}

/// The operands, and what becomes of the sums; the tiling is the caller's.
template <Major MajorB, class To>
PlainProduct<To> plain_product(const Operands<bf16>& x, const To& to) {
    PlainProduct<To> p{};
    const auto factor = [](const auto& a, const auto& b, bool gather) {
        const bool along = MajorB == Major::k;
        return Factor{a.data,
                      b.data,
                      a.pitch,
                      b.pitch,
                      b.extent(1) * b.pitch,
                      static_cast<int>(a.extent(1)),
                      static_cast<int>(along ? b.extent(1) : b.extent(2)),
                      gather};
    };
    p.factor[0] = factor(x.a, x.b, x.row_token != nullptr);
    p.factors = 1;
    if (x.second()) p.factor[p.factors++] = factor(x.a2, x.b2, false);
    p.expert_begin = x.expert_begin, p.row_token = x.row_token;
    p.experts = x.experts();
    p.to = to;
    return p;
}

/// A tile has 128 columns, or 64 of the gate and 64 of the up.
template <Major MajorB, class To>
void run_plain(cudaStream_t stream, const Operands<bf16>& x, int columns, bool all_aligned, const To& to) {
    constexpr bool kPaired = std::is_same_v<To, Swiglu>;
    auto p = plain_product<MajorB>(x, to);
    p.column_step = kPaired ? 64 : 128;
    p.distance = kPaired ? columns : 32;
    p.column_tiles = (columns + p.column_step - 1) / p.column_step;
    const auto kernel =
        all_aligned ? grouped_product_sm80<MajorB, true, To> : grouped_product_sm80<MajorB, false, To>;
    launch("grouped_product", kernel, dim3(static_cast<unsigned>(2 * device_limits().multiprocessors)),
           dim3(kPlainThreads), kPlainShared, stream, p);
}

}  // namespace
}  // namespace moegrad::cuda::grouped
