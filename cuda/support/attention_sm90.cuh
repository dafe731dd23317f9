#pragma once
// What the attention kernels on Hopper's tensor cores share: bf16, heads of 64 and 128. One warpgroup loads
// by the copy engine, two multiply, 64 rows (or keys) each. Every output is written once, by one block, in
// one order: the same bits every time. Tiles count from row 0 of the batch, not of a segment. Roundings: p
// and da to bf16 before their products, every result once to bf16; all sums in float. A weight of 0 does not
// hide a NaN from a product: rows that are not valid are cleared in shared memory (clear_holes).

#include <moegrad/cuda/support/attention_rows.cuh>
#include <moegrad/cuda/support/grouped_finish.cuh>
#include <moegrad/cuda/support/tensor_map.cuh>
#include <moegrad/cuda/support/wgmma.cuh>

namespace moegrad::cuda::attention {
namespace {

using namespace hopper;

inline constexpr int kTile = 128;  // rows (or keys) of a block
inline constexpr int kHopperThreads = 3 * 128;

/// What the backward kernels read and write.
struct Backward {
    CUtensorMap q, k, v, dy;
    Rows rows;
    Prepared prepared{{}};
    bf16 *out = nullptr, *out2 = nullptr;  // dq; or dk and dv (null: not wanted)
    Index pitch = 0, pitch2 = 0;
    Write write = Write::overwrite, write2 = Write::overwrite;
    int heads = 0, group = 0;  // query heads, and how many share a key-value head
    float scale = 0;
};

#if MOEGRAD_SM90A

__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}
template <int Size>
__device__ __forceinline__ void clear(float (&d)[Size]) {
#pragma unroll
    for (float& x : d) x = 0;
}

/// Accumulators as the operand a of the next product, 16 columns a chunk.
template <int Size>
__device__ __forceinline__ void to_operand(const float (&d)[Size], std::uint32_t (&a)[Size / 8][4]) {
#pragma unroll
    for (int c = 0; c < Size / 8; ++c) {
#pragma unroll
        for (int i = 0; i < 4; ++i) a[c][i] = pack_bf16(d[8 * c + 2 * i], d[8 * c + 2 * i + 1]);
    }
}

/// d (+)= a b^T over the head: both tiles [head / 64][rows][128 bytes], a from row `a_row` on.
template <int Head, int RowsA, int RowsB, int Size>
__device__ __forceinline__ void product_over_head(float (&d)[Size], Address a, int a_row, Address b) {
#pragma unroll
    for (int k = 0; k < Head / 16; ++k) {
        const std::uint64_t x = operand(a + k / 4 * RowsA * 128 + a_row * 128 + k % 4 * 32);
        const std::uint64_t y = operand(b + k / 4 * RowsB * 128 + k % 4 * 32);
        if (k == 0) {
            wgmma<Major::k, 0>(d, x, y);
        } else {
            wgmma<Major::k, 1>(d, x, y);
        }
    }
}

/// d += a b over the rows of b, a tile [head / 64][Rows][128 bytes]; a in registers.
template <int Rows, int Size, int Chunks>
__device__ __forceinline__ void product_over_rows(float (&d)[Size], const std::uint32_t (&a)[Chunks][4],
                                                  Address b) {
#pragma unroll
    for (int c = 0; c < Chunks; ++c) wgmma<Major::mn, 1>(d, a[c], operand(b + c * 16 * 128, Rows * 128));
}

/// A tile of Rows rows of one head.
template <int Head, int Rows>
__device__ __forceinline__ void load_boxes(Address to, const CUtensorMap* map, Address full, int column,
                                           int row) {
#pragma unroll
    for (int b = 0; b < Head / 64; ++b) load_box(to + b * Rows * 128, map, full, column + 64 * b, row);
}

/// Rows `row` and `row + 8` of a product [64, head], times a factor per row, into a matrix.
template <int Size>
__device__ __forceinline__ void store_rows(const float (&d)[Size], const float (&factor)[2], bf16* to,
                                           Index pitch, int row, int rows, int columns, Write write) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        bf16* out = to + static_cast<Index>(row + 8 * r) * pitch;
        const bool inside = row + 8 * r < rows;
#pragma unroll
        for (int j = 0; j < Size / 4; j += 4) {
            std::uint32_t w[4], old[4] = {};
            if (write == Write::accumulate) {
                grouped::get_blocks<true>(out, 8 * j, columns, inside, old);
                grouped::turn(old);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int at = 4 * (j + i) + 2 * r;
                // A factor of 0 marks a row that nobody may see, whatever was computed for it.
                const float x = factor[r] == 0 ? 0.0f : d[at] * factor[r],
                            y = factor[r] == 0 ? 0.0f : d[at + 1] * factor[r];
                w[i] = pack_bf16(x + grouped::low(old[i]), y + grouped::high(old[i]));
            }
            grouped::put_blocks<true>(out, 8 * j, columns, inside, w);
        }
    }
}

/// Which of Count rows from `first` on are there, a bit each, the same in every lane.
template <int Count>
struct RowBits {
    std::uint32_t word[Count / 32];
    bool holes = false;  // one below T is not valid
    bool all = true;     // of Count

    __device__ __forceinline__ RowBits(const Rows& rows, int first) {
#pragma unroll
        for (int w = 0; w < Count / 32; ++w) {
            const int n = first + 32 * w + static_cast<int>(threadIdx.x) % 32;
            const bool inside = n < rows.T, there = inside && rows.valid[n] != 0;
            word[w] = __ballot_sync(~0u, there);
            holes = holes || word[w] != __ballot_sync(~0u, inside);
            all = all && word[w] == ~0u;
        }
    }
};

/// Zeros into the rows of a tile [Head / 64][Count][128 bytes] that are not valid (the swizzle stays inside
/// 128 bytes). Both multiplying warpgroups call it together before either reads the tile, then
/// finish_clearing().
template <int Head, int Count>
__device__ __forceinline__ void clear_holes(const Rows& rows, Address tile, int first) {
    for (int i = static_cast<int>(threadIdx.x) - 128; i < Count * (Head / 8); i += 256) {
        const int row = i / (Head / 8), part = i % (Head / 8);
        if (first + row >= rows.T || rows.valid[first + row] != 0) continue;
        const Address at = tile + part / 8 * (Count * 128) + row * 128 + part % 8 * 16;
        asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
    }
}
__device__ __forceinline__ void finish_clearing() {
    async_fence();
    asm volatile("bar.sync 1, 256;" ::: "memory");  // of the two warpgroups
}

/// The keys a block of rows walks: tiles of Keys from the first that one of them sees.
template <int Keys>
__device__ __forceinline__ void key_range(const Rows& rows, int row, int& first, int& count) {
    first = rows.first_key(row) / Keys * Keys;
    count = (min(row + kTile, rows.T) - first + Keys - 1) / Keys;
}

/// Whether some row of the warp may not see some key of a tile: Count keys from `key` on, this lane's rows `row` and row + 8.
template <int Count>
__device__ __forceinline__ bool needs_mask(int row, const int (&first)[2], int key,
                                           const RowBits<Count>& there) {
    const int top = row - static_cast<int>(threadIdx.x) % 32 / 4;
    const bool inside = key + Count - 1 <= top && key >= first[0] && key >= first[1];
    return !__all_sync(~0u, there.all && inside);
}

/// `unseen` where a row may not see a key.
template <int Size>
__device__ __forceinline__ void mask(float (&d)[Size], float unseen, int row, const int (&first)[2], int key,
                                     const RowBits<2 * Size>& there) {
    const int column = key + static_cast<int>(threadIdx.x) % 4 * 2;
    const int from[2] = {first[0] - column, first[1] - column}, last[2] = {row - column, row + 8 - column};
#pragma unroll
    for (int w = 0; w < Size / 16; ++w) {
        const std::uint32_t bits = there.word[w] >> (threadIdx.x % 4 * 2);
#pragma unroll
        for (int i = 16 * w; i < 16 * (w + 1); ++i) {
            const int j = i / 4 * 8 + i % 2, r = i / 2 % 2;
            const bool seen = j >= from[r] && j <= last[r] && (bits >> (j % 32) & 1) != 0;
            d[i] = seen ? d[i] : unseen;
        }
    }
}

/// Rows and head of piece `work` of `all`: long rows of work first, heads that share keys side by side.
__device__ __forceinline__ void late_tiles_first(int work, int all, int heads, int& row, int& head) {
    row = (all / heads - 1 - work / heads) * kTile;
    head = work % heads;
}

#endif  // MOEGRAD_SM90A

}  // namespace
}  // namespace moegrad::cuda::attention
