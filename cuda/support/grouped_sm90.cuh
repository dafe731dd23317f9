#pragma once
// The grouped product for Hopper: wgmma fed by the copy engine, bf16 in and out, float accumulators.
//
//     a pair of blocks (a cluster)          ring of 4 stages, 64 deep: a [128, 64], b [256, 64] or [64, 256]
//            columns of b[e], 256
//            +---------+---------+          warpgroup 0 loads           warpgroups 1 and 2 multiply
//     block 0| 128 rows of e     |            wait   empty[s]             wait   full[s]
//            +---------+---------+            fetch  a: its own rows      d += a b, 64 rows and 256 columns each
//     block 1| the next 128      |                   b: one half, sent    free   the stage before, in both blocks,
//            +---------+---------+                      to both blocks           while this one is multiplied
//       b from block 0   block 1              48 KiB: full[s]             behind the last: finish (grouped_finish.cuh)
//
// Resident blocks take tiles from a list that each computes from the experts' first rows: nothing about the routing is known on
// the host. The ring goes on from tile to tile: operands of the next one come while this one is finished.
// Why this size: a stage takes the tensor cores 1,024 cycles, and shared memory as many (wgmma reads 80 KiB, 48 are written, 128
// bytes a cycle). A smaller tile waits for shared memory; a larger one has no registers, of which d takes 128 a thread.
// Why pairs: two tiles of an expert above each other share b, so that it leaves the L2 cache once for 256 rows. The last row of
// tiles of an expert with an odd count is taken in pairs beside each other, which share a.
// Gathered rows come by cp.async of the whole loading warpgroup (grouped_sm90_load.cuh); z of dSwiGLU comes through the same ring
// (grouped_sm90_tiles.cuh).
// An element of c is one chain of products of depth 16, in order: no split, no atomics, the same bits every time.

#include <moegrad/cuda/support/device_language.cuh>
#include <moegrad/cuda/support/grouped_finish.cuh>
#include <moegrad/cuda/support/grouped_sm90_load.cuh>
#include <moegrad/cuda/support/warp_matrices.cuh>

namespace moegrad::cuda::grouped {

#if MOEGRAD_SM90A

/// This warp has read the stage: both blocks of the pair may write it again.
__device__ __forceinline__ void release(Address empty) {
    if (threadIdx.x % 32 < 2) barrier_arrive_at(empty, threadIdx.x % 32);
}

/// d += a b over one stage, 16 deep at a time: Chunks of them, or `chunks` where that is 0.
template <Major MajorB, int Chunks>
__device__ __forceinline__ void multiply_stage(const Shared& shared, int stage, int group, int chunks,
                                               float (&d)[kTileColumns / 2]) {
    constexpr int kAdvanceB = MajorB == Major::k ? 32 : 16 * 128;
    const std::uint64_t a = operand(shared.a(stage) + group * kBytesA / 2);
    const std::uint64_t b = operand(shared.b(stage), MajorB == Major::k ? 0 : kDepth * 128);
    wgmma_begin();
    if constexpr (Chunks > 0) {
#pragma unroll
        for (int k = 0; k < Chunks; ++k) wgmma<MajorB>(d, advance(a, 32 * k), advance(b, kAdvanceB * k));
    } else {
#pragma unroll 1
        for (int k = 0; k < chunks; ++k) wgmma<MajorB>(d, advance(a, 32 * k), advance(b, kAdvanceB * k));
    }
    wgmma_commit();
}

/// Four of 8 x 8 from a warp's registers, as load_matrices hands them out.
__device__ __forceinline__ void store_matrices(Address to, const std::uint32_t (&r)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(r[0]),
                 "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
}

/// 16 bytes to memory, without a branch around them.
__device__ __forceinline__ void store_piece(bf16* to, const uint4& piece, bool there) {
    asm volatile(
        "{\n.reg .pred there;\nsetp.ne.b32 there, %5, 0;\n@there st.global.v4.b32 [%0], {%1, %2, %3, "
        "%4};\n}\n" ::"l"(to),
        "r"(piece.x), "r"(piece.y), "r"(piece.z), "r"(piece.w), "r"(static_cast<int>(there))
        : "memory");
}

/// 16 rows of 64 columns out of a stage, by a warp: a lane stores 16 bytes of rows lane/8, lane/8 + 4, ...
struct RowCopy {
    int rows;       // that are there, from this lane's first on
    bool columns;   // whether the lane's are
    Address place;  // of its first 16 bytes; 4 rows further on the swizzle flips one bit

    __device__ __forceinline__ void copy(Address from, bf16* to, Index pitch) const {
#pragma unroll
        for (int k = 0; k < 4; ++k, to += 4 * pitch) {
            uint4 piece;
            asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(piece.x), "=r"(piece.y), "=r"(piece.z), "=r"(piece.w)
                         : "r"(from + k * 512 + (k % 2 == 0 ? place : place ^ 64)));
            store_piece(to, piece, columns && 4 * k < rows);
        }
    }
};

/// finish() of grouped_finish.cuh with z from the ring, 64 columns of gate and of up a stage: rows of 128 bytes, swizzled. Matrices
/// of 8 x 8 hand a lane the words that belong to its d; dz goes to their place, h behind them, and the warp copies whole rows.
template <int Size>
__device__ __forceinline__ void finish_from_ring(const SwigluGradient& to, const Shared& shared, Ring& ring,
                                                 float (&d)[Size], int warp_row, const Tile& tile,
                                                 int column) {
    constexpr int kMatrices = 4;  // times four: of rows 0 .. 7 and 8 .. 15, columns 0 .. 31 and 32 .. 63
    const int lane = threadIdx.x % 32, row = lane / 8;
    RowCopy lines{tile.row_end - tile.row - warp_row - row, false,
                  static_cast<Address>(row * 128 + ((lane % 8) ^ row) * 16)};
    const Index first = tile.row + warp_row + row;
    column += lane % 8 * 8;
    bf16 *dz = to.dz + first * to.dz_pitch + column, *h = to.h + first * to.h_pitch + column;
    Address place
        [kMatrices];  // of row lane % 8 of matrix lane / 8; 32 columns further on the swizzle flips one bit
#pragma unroll
    for (int m = 0; m < kMatrices; ++m)
        place[m] = m / 2 * 1024 + ((lane % 8 * 128 + ((lane / 8) ^ (lane % 8)) * 16) ^ (m % 2 * 64));
#pragma unroll
    for (int step = 0; step < kStepsZ<SwigluGradient>; ++step, ring.next()) {
        const Address z = shared.a(ring.stage) + warp_row * 128;
        barrier_wait(shared.full(ring.stage), ring.phase);
        std::uint32_t gate[kMatrices][4], up[kMatrices][4];  // all reads before the first write
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
            load_matrices(gate[m], z + place[m]);
            load_matrices(up[m], z + kBytesZ / 2 + place[m]);
        }
#pragma unroll
        for (int m = 0; m < kMatrices; ++m) {
            std::uint32_t y[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int n = 4 * (8 * step + m % 2 * 4 + i) + m / 2 * 2;
                gradient_word(gate[m][i], up[m][i], d[n], d[n + 1], y[i]);
            }
            store_matrices(z + place[m], gate[m]);
            store_matrices(z + kBytesZ / 2 + place[m], up[m]);
            store_matrices(z + kBytesZ + place[m], y);
        }
        async_fence();  // the copy engine writes this stage next
        __syncwarp();
        lines.columns = column + 64 * step < to.F;
        lines.copy(z, dz + 64 * step, to.dz_pitch);
        lines.copy(z + kBytesZ / 2, dz + to.F + 64 * step, to.dz_pitch);
        if (to.h != nullptr) lines.copy(z + kBytesZ, h + 64 * step, to.h_pitch);
        __syncwarp();
        release(shared.empty(ring.stage));
    }
}

template <Major MajorB, bool Gather, class To>
__device__ void consume(const HopperProduct<To>& p, const Shared& shared, int rank) {
    const int group = threadIdx.x / 128 - 1, lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    Tiles tiles(p.expert_begin, p.experts, p.column_tiles);
    Tile tile;
    Ring ring;
    for (int pair = blockIdx.x / 2; tiles.find(pair, rank, tile); pair += gridDim.x / 2) {
        float d[kTileColumns / 2];
#pragma unroll
        for (float& x : d) x = 0;
        int last = -1;
        for (int step = 0; step < p.steps; ++step, ring.next()) {
            barrier_wait(shared.full(ring.stage), ring.phase);
            if constexpr (Gather) async_fence();
            multiply_stage<MajorB, 4>(shared, ring.stage, group, 4, d);
            wgmma_wait<1>();
            if (last >= 0) release(shared.empty(last));
            last = ring.stage;
        }
        for (int step = 0; step < p.steps2; ++step, ring.next()) {
            barrier_wait(shared.full(ring.stage), ring.phase);
            multiply_stage<MajorB, 0>(shared, ring.stage, group, step + 1 < p.steps2 ? 4 : p.chunks2, d);
            wgmma_wait<1>();
            if (last >= 0) release(shared.empty(last));
            last = ring.stage;
        }
        wgmma_wait<0>();
        pin(d);
        if (last >= 0) release(shared.empty(last));
        const int warp_row = 64 * group + 16 * warp, column = tile.column_tile * p.column_step;
        if constexpr (kStepsZ < To >> 0) {
            finish_from_ring(p.to, shared, ring, d, warp_row, tile, column);
        } else if (tile.column_tile < p.column_tiles) {
            finish<true>(p.to, d, tile.row + warp_row + lane / 4, tile.row_end, column, p.distance);
        }
    }
}

#endif  // MOEGRAD_SM90A

namespace {

template <Major MajorB, bool Gather, class To>
__global__ void __launch_bounds__(kHopperThreads, 1)
    grouped_product_sm90(const __grid_constant__ HopperProduct<To> p) {
#if MOEGRAD_SM90A
    Shared shared;
    shared.stages = (shared_address(dynamic_shared<unsigned char>()) + 1023) / 1024 * 1024;
    const int rank = cluster_rank();
    if (threadIdx.x == 0) {
        for (int i = 0; i < kStages; ++i) {
            barrier_init(shared.full(i), Gather ? 1 + 128 : 1);
            barrier_init(shared.empty(i), 2 * 8);  // the consumer warps of both blocks
        }
        barrier_init_fence();
        prefetch(&p.a);
        prefetch(&p.b);
    }
    cluster_sync();
    if (threadIdx.x < 128) {
        fewer_registers<56>();
        produce<MajorB, Gather, To>(p, shared, rank);
    } else {
        more_registers<224>();
        consume<MajorB, Gather, To>(p, shared, rank);
    }
    // Neither block leaves while the other may still write into it. The barrier wants whole warps, and the
    // leader of the loading one comes later than its other lanes.
    __syncwarp();
    cluster_sync();
#endif
}

/// What the copy engine and 16-byte stores ask for.
inline bool fits_hopper(const Operands<bf16>& x) {
    const bool second = !x.second() || (fits_tensor_map(x.a2) && fits_tensor_map(x.b2));
    return device_limits().hopper && fits_tensor_map(x.a) && fits_tensor_map(x.b) && second;
}

/// columns: of a tile list, F for the swiglu forms. distance: from the first half of a tile's columns to the second.
template <Major MajorB, bool Gather, class To>
void run_hopper(cudaStream_t stream, const Operands<bf16>& x, int columns, int column_step, int distance,
                const To& to) {
    HopperProduct<To> p{};
    const int box_b = MajorB == Major::k ? kTileColumns / 2 : kDepth;
    p.a = tensor_map(x.a, kBoxRows);
    p.b = tensor_map(x.b, box_b);
    if (x.second()) {
        p.a2 = tensor_map(x.a2, kBoxRows);
        p.b2 = tensor_map(x.b2, box_b);
        const int depth2 = static_cast<int>(x.a2.extent(1));
        p.steps2 = (depth2 + kDepth - 1) / kDepth;
        p.chunks2 = (depth2 - (p.steps2 - 1) * kDepth + 15) / 16;
    }
    if constexpr (kStepsZ < To >> 0) {
        p.z = tensor_map(View<const bf16, 2>{to.z, {x.a.extent(0), 2 * Index{to.F}}, to.z_pitch}, kBoxRows);
    }
    p.expert_begin = x.expert_begin;
    p.row_token = x.row_token;
    p.experts = x.experts();
    p.gathered = x.a.data;
    p.gathered_pitch = x.a.pitch;
    p.depth = static_cast<int>(x.a.extent(1));
    p.steps = static_cast<int>((x.a.extent(1) + kDepth - 1) / kDepth);
    p.column_step = column_step;
    p.column_tiles = (columns + column_step - 1) / column_step;
    p.distance = distance;
    p.to = to;
    const auto kernel = grouped_product_sm90<MajorB, Gather, To>;
    static thread_local bool allowed = false;
    if (!allowed) allow_shared_memory(kernel, kSharedBytes, "grouped_product");
    allowed = true;
    cudaLaunchAttribute pairs{};
    pairs.id = cudaLaunchAttributeClusterDimension;
    pairs.val.clusterDim = {2, 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = device_limits().multiprocessors / 2 * 2;
    config.blockDim = kHopperThreads;
    config.dynamicSmemBytes = kSharedBytes;
    config.stream = stream;
    config.attrs = &pairs;
    config.numAttrs = 1;
    launched(cudaLaunchKernelEx(&config, kernel, p), "grouped_product", config.gridDim, config.blockDim,
             kSharedBytes);
}

}  // namespace
}  // namespace moegrad::cuda::grouped
