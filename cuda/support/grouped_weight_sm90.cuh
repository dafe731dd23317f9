#pragma once
// Gradients of whole expert weights on Hopper:   c[e][i, j] (+)= sum_n tall[n, i] wide[src(n), j]       n a row of expert e
//
//     a block: 128 x 256 of one expert         ring of 4 stages of 64 rows: tall [64, 128], wide [64, 256]
//              wide, 256 columns
//            +------------------+              warpgroup 0 loads            warpgroups 1 and 2 multiply
//       tall | 64 columns       |                wait   empty[s]              wait   full[s]
//        128 +------------------+                cp.async, 24 pieces of       d += tall^T wide, 64 x 256 each: both
//            | 64 columns       |                16 bytes a thread            operands lie across (mn-major)
//            +------------------+                48 KiB: full[s]              free   the stage before
//
// Resident blocks take tiles from a list that depends on shapes alone; how long a tile is, its expert's rows say. cp.async,
// not the copy engine: the rows of one side are gathered, and behind an expert's last row there must be zeros in both, where
// a box would hold the next expert's rows (0 times NaN). The price is that no two blocks share what they load.
// Few rows make short sums: the 128 KiB of a tile that 1,024 rows make take memory two thirds as long as the tensor cores.
// An element of c is one chain of products of depth 16, in order: no split, no atomics. grouped_gram.cuh has the narrow sums.

#include <moegrad/cuda/support/device_language.cuh>
#include <moegrad/cuda/support/grouped_sm90_tiles.cuh>

namespace moegrad::cuda::grouped {

struct WeightProduct {
    GramSide tall, wide;
    float* c;
    Index slice, pitch;  // of c: from expert to expert, from i to i + 1
    Write write;
    const std::int32_t* expert_begin;
    int experts, tall_tiles, wide_tiles;

    /// Tile `at` of the list: neighbours share the rows of `tall`.
    __device__ bool find(int at, int& expert, int& top, int& left) const {
        const int of_expert = tall_tiles * wide_tiles;
        expert = at / of_expert, at -= expert * of_expert;
        top = at / wide_tiles * kTileRows, left = at % wide_tiles * kTileColumns;
        return expert < experts;
    }
    __device__ int steps(int expert) const {
        return (expert_begin[expert + 1] - expert_begin[expert] + kDepth - 1) / kDepth;
    }
};

#if MOEGRAD_SM90A

/// What a thread of the loading warpgroup copies of a side: of rows t/8, t/8 + 16, .. of a stage 16 bytes in each block of 64
/// columns, to where the swizzle puts them.
template <int Blocks>
struct SideCopy {
    static constexpr int kRows = kDepth / 16;
    const bf16* first;
    Index pitch;
    const std::int32_t* list;
    int bytes[Blocks];  // that exist of its piece in a block

    __device__ SideCopy(const GramSide& side, int column) : pitch(side.pitch), list(side.list) {
        const int at = column + threadIdx.x % 8 * 8;
        first = side.data + at;
#pragma unroll
        for (int b = 0; b < Blocks; ++b) bytes[b] = min(max(side.columns - at - 64 * b, 0), 8) * 2;
    }
    /// -1: behind the last.
    __device__ void find(int begin, int end, int (&row)[kRows]) const {
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
            const int n = begin + static_cast<int>(threadIdx.x % 128) / 8 + 16 * i;
            row[i] = n >= end ? -1 : list == nullptr ? n : list[n];
        }
    }
    __device__ void load(Address to, const bf16* somewhere, const int (&row)[kRows]) const {
        const int line = static_cast<int>(threadIdx.x % 128) / 8;
        to += line * 128 + ((threadIdx.x % 8) ^ (line % 8)) * 16;
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
            const bf16* from = first + row[i] * pitch;
#pragma unroll
            for (int b = 0; b < Blocks; ++b) {
                const int there = row[i] < 0 ? 0 : bytes[b];
                copy_16(to + b * kDepth * 128 + i * 2048, there > 0 ? from + 64 * b : somewhere, there);
            }
        }
    }
};

__device__ inline void load_weight_sides(const WeightProduct& p, const Shared& shared) {
    Ring ring;
    int expert, top, left;
    for (int tile = blockIdx.x; p.find(tile, expert, top, left); tile += gridDim.x) {
        const SideCopy<kTileRows / 64> tall(p.tall, top);
        const SideCopy<kTileColumns / 64> wide(p.wide, left);
        const int begin = p.expert_begin[expert], end = p.expert_begin[expert + 1], steps = p.steps(expert);
        int rows[kDepth / 16], gathered[kDepth / 16];  // one stage ahead: a list is one more trip to memory
        tall.find(begin, end, rows), wide.find(begin, end, gathered);
        for (int step = 0; step < steps; ++step, ring.next()) {
            barrier_wait(shared.empty(ring.stage), ring.phase ^ 1);
            tall.load(shared.a(ring.stage), p.tall.data, rows);
            wide.load(shared.b(ring.stage), p.wide.data, gathered);
            barrier_arrive_copies(shared.full(ring.stage));
            const int next = begin + (step + 1) * kDepth;
            tall.find(next, end, rows), wide.find(next, end, gathered);
        }
    }
}

/// Two neighbouring columns a store: a quad fills 32 bytes. What is added to is read for 16 stores at once: behind a store the
/// compiler starts no read.
__device__ __forceinline__ void put_weight(const WeightProduct& p, const float (&d)[kTileColumns / 2],
                                           int expert, int row, int column) {
    constexpr int kBlocks = kTileColumns / 8, kAtOnce = 16;
    float* const first = p.c + expert * p.slice + row * p.pitch + column;
#pragma unroll
    for (int part = 0; part < 2 * kBlocks; part += kAtOnce) {
        const int r = part / kBlocks;
        float* const to = first + 8 * r * p.pitch;
        const auto inside = [&](int i) {
            return row + 8 * r < p.tall.columns && column + 8 * (part % kBlocks + i) < p.wide.columns;
        };
        float2 sum[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            sum[i] = make_float2(0, 0);
            if (p.write == Write::accumulate && inside(i))
                sum[i] = *reinterpret_cast<const float2*>(to + 8 * (part % kBlocks + i));
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
            const int j = part % kBlocks + i;
            sum[i].x += d[4 * j + 2 * r], sum[i].y += d[4 * j + 2 * r + 1];
            if (inside(i)) *reinterpret_cast<float2*>(to + 8 * j) = sum[i];
        }
    }
}

__device__ inline void multiply_weight_sides(const WeightProduct& p, const Shared& shared) {
    const int group = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    Ring ring;
    int expert, top, left;
    for (int tile = blockIdx.x; p.find(tile, expert, top, left); tile += gridDim.x) {
        float d[kTileColumns / 2];
#pragma unroll
        for (float& x : d) x = 0;
        const int steps = p.steps(expert);
        int last = -1;
        for (int step = 0; step < steps; ++step, ring.next()) {
            barrier_wait(shared.full(ring.stage), ring.phase);
            async_fence();
            const std::uint64_t a = operand(shared.a(ring.stage) + group * kDepth * 128, kDepth * 128);
            const std::uint64_t b = operand(shared.b(ring.stage), kDepth * 128);
            wgmma_begin();
#pragma unroll
            for (int k = 0; k < kDepth / 16; ++k)
                wgmma<Major::mn, 1, Major::mn>(d, advance(a, 16 * 128 * k), advance(b, 16 * 128 * k));
            wgmma_commit();
            wgmma_wait<1>();
            if (last >= 0) release_warp(shared.empty(last));
            last = ring.stage;
        }
        wgmma_wait<0>();
        pin(d);
        if (last >= 0) release_warp(shared.empty(last));
        if (steps == 0 && p.write == Write::accumulate) continue;
        put_weight(p, d, expert, top + 64 * group + 16 * warp + lane / 4, left + lane % 4 * 2);
    }
}

#endif  // MOEGRAD_SM90A

namespace {

__global__ void __launch_bounds__(kHopperThreads, 1)
    grouped_weight_sm90(const __grid_constant__ WeightProduct p) {
#if MOEGRAD_SM90A
    Shared shared;
    shared.stages = (shared_address(dynamic_shared<unsigned char>()) + 1023) / 1024 * 1024;
    if (threadIdx.x == 0) {
        for (int i = 0; i < kStages; ++i) {
            barrier_init(shared.full(i), 128);
            barrier_init(shared.empty(i), 8);
        }
        barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        fewer_registers<56>();
        load_weight_sides(p, shared);
    } else {
        more_registers<224>();
        multiply_weight_sides(p, shared);
    }
    __syncthreads();  // nobody leaves while its copies are on their way
#endif
}

/// Narrower sides are memory's work (grouped_gram.cuh).
inline constexpr int kLeastWide = 64;

/// dw[e] [O, D] (+)= sum_n dy[n]^T x[src(n)]; false where the card is none of Hopper's or a side does not fit.
inline bool run_weight_hopper(cudaStream_t stream, const GramSide& dy, const GramSide& x,
                              const View<float, 3>& dw, Write write, const std::int32_t* expert_begin) {
    const bool pairs = reinterpret_cast<std::uintptr_t>(dw.data) % 8 == 0 && dw.pitch % 2 == 0;
    if (!device_limits().hopper || !pairs || dy.columns <= kLeastWide || x.columns <= kLeastWide ||
        dy.columns % 8 != 0 || x.columns % 8 != 0)
        return false;
    const auto tiles = [](int columns, int each) { return (columns + each - 1) / each; };
    const WeightProduct p{dy,
                          x,
                          dw.data,
                          dw.extent(1) * dw.pitch,
                          dw.pitch,
                          write,
                          expert_begin,
                          static_cast<int>(dw.extent(0)),
                          tiles(dy.columns, kTileRows),
                          tiles(x.columns, kTileColumns)};
    launch("weight_gradient", grouped_weight_sm90,
           dim3(static_cast<unsigned>(device_limits().multiprocessors)), dim3(kHopperThreads), kSharedBytes,
           stream, p);
    return true;
}

}  // namespace
}  // namespace moegrad::cuda::grouped
