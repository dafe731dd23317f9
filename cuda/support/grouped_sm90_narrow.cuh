#pragma once
// The end of a narrow tile of grouped_sm90.cuh, whose registers hold columns x rows (grouped_sm90_sum.cuh). The arithmetic
// is done there; packed to bf16, blocks of 8 x 8 are turned inside a warp (movmatrix) and a lane stores 16 bytes of a row:
// of rows 16 j .. 16 j + 15 those of `r` = lane/4 + 8 (lane%4 / 2), columns 8 (lane%2) ... of the warp's 16.

#include <moegrad/cuda/support/grouped_finish.cuh>
#include <moegrad/cuda/support/grouped_sm90_sum.cuh>

namespace moegrad::cuda::grouped {

#if MOEGRAD_SM90A

/// Blocks of 8 x 8 change rows and columns; word 2 j + h: rows 8 j ..., columns 8 h ... of 16 x 16. Its own inverse.
__device__ __forceinline__ void turn_blocks(std::uint32_t (&w)[4]) {
#pragma unroll
    for (std::uint32_t& word : w) {
        asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %0;" : "+r"(word));
    }
}

/// A place in a matrix for 16 rows and 16 columns.
struct NarrowPlace {
    int row, row_end, column, columns;

    __device__ __forceinline__ int lane_row() const {
        const int lane = threadIdx.x % 32;
        return row + lane / 4 + lane % 4 / 2 * 8;
    }
    __device__ __forceinline__ int lane_column() const { return column + threadIdx.x % 2 * 8; }
    __device__ __forceinline__ bool inside() const { return lane_row() < row_end && lane_column() < columns; }

    __device__ __forceinline__ void put(bf16* to, Index pitch, std::uint32_t (&w)[4]) const {
        turn_blocks(w);
        turn(w);
        if (!inside()) return;
        *reinterpret_cast<uint4*>(to + lane_row() * pitch + lane_column()) =
            make_uint4(w[0], w[1], w[2], w[3]);
    }
    /// The reverse; zeros outside.
    __device__ __forceinline__ void get(const bf16* from, Index pitch, std::uint32_t (&w)[4]) const {
        uint4 all = make_uint4(0, 0, 0, 0);
        if (inside()) all = *reinterpret_cast<const uint4*>(from + lane_row() * pitch + lane_column());
        w[0] = all.x, w[1] = all.y, w[2] = all.z, w[3] = all.w;
        turn(w);
        turn_blocks(w);
    }
};

/// Of word i of a 16 x 16 block at row 16 j: the index in d of its two rows.
__device__ __forceinline__ constexpr int narrow_at(int j, int i) {
    return 4 * (2 * j + i / 2) + i % 2 * 2;
}

template <int Size>
__device__ __forceinline__ void finish_narrow(const Store<bf16>& to, float (&d)[2][Size], NarrowPlace place,
                                              int distance) {
#pragma unroll
    for (int half = 0; half < 2; ++half, place.column += distance) {
        NarrowPlace at = place;
        at.columns = to.columns;
#pragma unroll
        for (int j = 0; j < Size / 8; ++j, at.row += 16) {
            std::uint32_t w[4], old[4] = {};
            if (to.write == Write::accumulate) at.get(to.c, to.pitch, old);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int n = narrow_at(j, i);
                w[i] = pack_bf16(fmaf(to.factor, d[half][n], low(old[i])),
                                 fmaf(to.factor, d[half][n + 1], high(old[i])));
            }
            at.put(to.c, to.pitch, w);
        }
    }
}

template <int Size>
__device__ __forceinline__ void finish_narrow(const Swiglu& to, float (&d)[2][Size], NarrowPlace place, int) {
    place.columns = to.F;
#pragma unroll
    for (int j = 0; j < Size / 8; ++j, place.row += 16) {
        std::uint32_t gate[4], up[4], y[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int n = narrow_at(j, i);
            gate[i] = pack_bf16(d[0][n], d[0][n + 1]);
            up[i] = pack_bf16(d[1][n], d[1][n + 1]);
            y[i] = swiglu_word(gate[i], up[i]);
        }
        if (to.z != nullptr) {
            place.put(to.z, to.z_pitch, gate);
            place.put(to.z + to.F, to.z_pitch, up);
        }
        place.put(to.h, to.h_pitch, y);
    }
}

/// Four blocks of 8 x 8 at rows 16 j, columns 16 warp of a stage of z, turned as they are read.
__device__ __forceinline__ void read_blocks(Address z, int j, int warp, std::uint32_t (&w)[4]) {
    const int lane = threadIdx.x % 32, row = 16 * j + lane / 16 * 8 + lane % 8,
              piece = 2 * warp + lane / 8 % 2;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
                 : "r"(z + row * 128 + (piece ^ (row % 8)) * 16));
}

/// dz and h of 64 columns; z: a stage that holds them.
template <int Size>
__device__ __forceinline__ void finish_stage(const SwigluGradient& to, Address z, float (&d)[Size],
                                             NarrowPlace at) {
    const int warp = threadIdx.x / 32 % 4;
#pragma unroll
    for (int j = 0; j < Size / 8; ++j, at.row += 16) {
        std::uint32_t gate[4], up[4], y[4];
        read_blocks(z, j, warp, gate);
        read_blocks(z + kBytesZ / 2, j, warp, up);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int n = narrow_at(j, i);
            gradient_word(gate[i], up[i], d[n], d[n + 1], y[i]);
        }
        at.put(to.dz, to.dz_pitch, gate);
        at.put(to.dz + to.F, to.dz_pitch, up);
        if (to.h != nullptr) at.put(to.h, to.h_pitch, y);
    }
}

/// z comes through the ring, 64 columns a stage: every other stage is this warpgroup's.
template <int Size>
__device__ __forceinline__ void finish_narrow_from_ring(const SwigluGradient& to, const Shared& shared,
                                                        Ring& ring, float (&d)[2][Size], NarrowPlace place,
                                                        int group) {
    place.columns = to.F;
#pragma unroll
    for (int step = 0; step < kStepsZ<SwigluGradient>; ++step, ring.next()) {
        barrier_wait(shared.full(ring.stage), ring.phase);
        if (__any_sync(~0u, step % 2 == group)) {
            NarrowPlace at = place;
            at.column += step / 2 * (kTileColumns / 2);
            finish_stage(to, shared.a(ring.stage), d[step / 2], at);
        }
        __syncwarp();
        release(shared.empty(ring.stage));
    }
}

template <Major MajorB, bool Gather, int Rows, class To>
__device__ __forceinline__ void consume_narrow(const HopperProduct<To>& p, const Shared& shared, Ring& ring,
                                               const Tile& tile, int group) {
    NarrowSum<MajorB, Rows> sum;
    sum_stages<Gather>(p, shared, ring, group, sum);
    const int warp = threadIdx.x / 32 % 4, column = tile.column_tile * p.column_step + 64 * group + 16 * warp;
    const NarrowPlace place{tile.row, tile.row_end, column, 0};
    if constexpr (kStepsZ < To >> 0) {
        finish_narrow_from_ring(p.to, shared, ring, sum.d, place, group);
    } else if (tile.column_tile < p.column_tiles) {
        finish_narrow(p.to, sum.d, place, p.distance);
    }
}

#endif  // MOEGRAD_SM90A

}  // namespace moegrad::cuda::grouped
