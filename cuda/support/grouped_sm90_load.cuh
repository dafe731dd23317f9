#pragma once
// The loading warpgroup of grouped_sm90.cuh: it keeps the ring of stages full.

#include <moegrad/cuda/support/grouped_sm90_tiles.cuh>

namespace moegrad::cuda::grouped {

#if MOEGRAD_SM90A

/// One half of b, 128 columns: for this block, or for both of the pair.
template <Major MajorB, bool Both>
__device__ __forceinline__ void load_half(const CUtensorMap* map, Address to, Address full, int depth,
                                          int column, int expert) {
    if constexpr (MajorB == Major::k) {
        if constexpr (Both) {
            load_box_pair(to, map, full, depth, column, expert);
        } else {
            load_box(to, map, full, depth, column, expert);
        }
    } else {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            if constexpr (Both) {
                load_box_pair(to + i * kDepth * 128, map, full, column + 64 * i, depth, expert);
            } else {
                load_box(to + i * kDepth * 128, map, full, column + 64 * i, depth, expert);
            }
        }
    }
}

template <Major MajorB>
__device__ __forceinline__ void load_b(const CUtensorMap* map, Address to, Address full, int depth,
                                       int column, int distance, const Tile& tile, int rank) {
    if (tile.above) {
        load_half<MajorB, true>(map, to + rank * kBytesB / 2, full, depth, column + rank * distance,
                                tile.expert);
    } else {
        load_half<MajorB, false>(map, to, full, depth, column, tile.expert);
        load_half<MajorB, false>(map, to + kBytesB / 2, full, depth, column + distance, tile.expert);
    }
}

/// Neighbouring rows of a, by one thread.
__device__ __forceinline__ void load_rows(const CUtensorMap* map, Address to, Address full, int depth,
                                          const Tile& tile, int rank) {
    if (tile.above) {
        load_box(to, map, full, depth, tile.row);
        load_box(to + kBytesA / 2, map, full, depth, tile.row + kBoxRows);
    } else {
        load_box_pair(to + rank * kBytesA / 2, map, full, depth, tile.row + rank * kBoxRows);
    }
}

/// Rows of a wherever they are, by all 128 threads of the loading warpgroup: thread t copies 16 bytes of the rows
/// t/8, t/8 + 16, ... to where the swizzle puts them. (The copy engine takes a request per row: 450 TFLOP/s.)
struct GatheredRows {
    static constexpr int kRows = kTileRows / 16;
    const bf16* source[kRows];  // the thread's column of the row
    unsigned exists = 0;        // a bit per row; the others are zeros
    Address place;
    int column;

    __device__ GatheredRows(const bf16* a, Index pitch, const std::int32_t* row_token, const Tile& tile) {
        const int thread = threadIdx.x % 128, first = thread / 8;
        column = thread % 8 * 8;
        place = first * 128 + ((thread % 8) ^ (first % 8)) * 16;
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
            const int row = tile.row + first + 16 * i;
            const bool inside = row < tile.row_end;
            source[i] = a + (inside ? static_cast<Index>(row_token[row]) * pitch + column : 0);
            exists |= static_cast<unsigned>(inside) << i;
        }
    }
    __device__ void load(Address to, int depth, int end) const {
        const int bytes = min(max(end - depth - column, 0), 8) * 2;
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
            const bool there = (exists >> i & 1) != 0 && bytes > 0;
            copy_16(to + place + i * 2048, there ? source[i] + depth : source[i], there ? bytes : 0);
        }
    }
};

/// Columns [column, column + 64) of gate and of up.
__device__ __forceinline__ void load_z(const CUtensorMap* map, Address to, Address full, int column, int F,
                                       const Tile& tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        load_box(to + i * kBytesZ / 4, map, full, column + i / 2 * F, tile.row + i % 2 * kBoxRows);
    }
}

template <Major MajorB, bool Gather, class To>
__device__ void produce(const HopperProduct<To>& p, const Shared& shared, int rank) {
    const bool leader = threadIdx.x % 128 == 0;
    if (!Gather && !leader) return;
    Tiles tiles(p.expert_begin, p.experts, p.column_tiles);
    Tile tile;
    Ring ring;
    for (int pair = blockIdx.x / 2; tiles.find(pair, rank, tile); pair += gridDim.x / 2) {
        const int column = tile.column_tile * p.column_step;
        if constexpr (Gather) {
            const GatheredRows rows(p.gathered, p.gathered_pitch, p.row_token, tile);
            for (int step = 0; step < p.steps; ++step, ring.next()) {
                const Address full = shared.full(ring.stage);
                barrier_wait(shared.empty(ring.stage), ring.phase ^ 1);
                if (leader) {
                    barrier_arrive_expect(full, kBytesB);
                    load_b<MajorB>(&p.b, shared.b(ring.stage), full, step * kDepth, column, p.distance, tile,
                                   rank);
                }
                rows.load(shared.a(ring.stage), step * kDepth, p.depth);
                barrier_arrive_copies(full);
            }
        } else {
            for (int step = 0; step < p.steps; ++step, ring.next()) {
                const Address full = shared.full(ring.stage);
                barrier_wait(shared.empty(ring.stage), ring.phase ^ 1);
                barrier_arrive_expect(full, kBytesStage);
                load_rows(&p.a, shared.a(ring.stage), full, step * kDepth, tile, rank);
                load_b<MajorB>(&p.b, shared.b(ring.stage), full, step * kDepth, column, p.distance, tile,
                               rank);
            }
        }
        for (int step = 0; step < p.steps2; ++step, ring.next()) {
            const Address full = shared.full(ring.stage);
            barrier_wait(shared.empty(ring.stage), ring.phase ^ 1);
            if constexpr (Gather) barrier_arrive(full);
            if (!leader) continue;
            barrier_arrive_expect(full, kBytesStage);
            load_rows(&p.a2, shared.a(ring.stage), full, step * kDepth, tile, rank);
            load_b<MajorB>(&p.b2, shared.b(ring.stage), full, step * kDepth, column, p.distance, tile, rank);
        }
        if constexpr (kStepsZ < To >> 0) {
            for (int step = 0; step < kStepsZ<To>; ++step, ring.next()) {
                const Address full = shared.full(ring.stage);
                barrier_wait(shared.empty(ring.stage), ring.phase ^ 1);
                barrier_arrive_expect(full, kBytesZ);
                load_z(&p.z, shared.a(ring.stage), full, column + 64 * step, p.to.F, tile);
            }
        }
    }
}

#endif  // MOEGRAD_SM90A

}  // namespace moegrad::cuda::grouped
