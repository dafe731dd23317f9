#pragma once
// The multiplying warpgroups of grouped_sm90.cuh: one pass over a tile's stages. Both forms read the same stages, and an
// element's chain of products is the same:
//   wide     128 rows: a warpgroup has 64 of them and all 256 columns,                 rows x columns in its registers
//   narrow   at most 96 rows: it has all of them and 64 columns of each half, b first, columns x rows in its registers:
//            wgmma takes 64 of its first operand but any multiple of 8 of its second, so few rows cost few cycles.

#include <moegrad/cuda/support/grouped_sm90_tiles.cuh>

namespace moegrad::cuda::grouped {

#if MOEGRAD_SM90A

/// This warp has read the stage: both blocks of the pair may write it again.
__device__ __forceinline__ void release(Address empty) {
    if (threadIdx.x % 32 < 2) barrier_arrive_at(empty, threadIdx.x % 32);
}

/// Bytes between two depths of 16 of b.
template <Major MajorB>
inline constexpr int kAdvanceB = MajorB == Major::k ? 32 : 16 * 128;

/// d += a b over one stage, 16 deep at a time: Chunks of them, or `chunks` where that is 0.
template <Major MajorB>
struct WideSum {
    float d[kTileColumns / 2] = {};

    template <int Chunks>
    __device__ __forceinline__ void stage(const Shared& shared, int stage, int group, int chunks) {
        const std::uint64_t a = operand(shared.a(stage) + group * kBytesA / 2);
        const std::uint64_t b = operand(shared.b(stage), MajorB == Major::k ? 0 : kDepth * 128);
        const auto step = [&](int k) {
            wgmma<MajorB>(d, advance(a, 32 * k), advance(b, kAdvanceB<MajorB> * k));
        };
        wgmma_begin();
        if constexpr (Chunks > 0) {
#pragma unroll
            for (int k = 0; k < Chunks; ++k) step(k);
        } else {
#pragma unroll 1
            for (int k = 0; k < chunks; ++k) wgmma_begin(), step(k);
        }
        wgmma_commit();
    }
    __device__ __forceinline__ void done() {
        pin(d);
    }
};

/// d[i] of columns 128 i + 64 group ...: lane l of warp w has columns 16 w + l/4 and that + 8, rows as wgmma.cuh's columns.
template <Major MajorB, int Rows>
struct NarrowSum {
    float d[2][Rows / 2] = {};

    template <int Chunks>
    __device__ __forceinline__ void stage(const Shared& shared, int stage, int group, int chunks) {
        const std::uint64_t a = operand(shared.a(stage));
        const std::uint64_t b =
            operand(shared.b(stage) + group * kDepth * 128, MajorB == Major::k ? 0 : kDepth * 128);
        const auto step = [&](int k) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                wgmma<Major::k, MajorB>(d[i], advance(b, kBytesB / 2 * i + kAdvanceB<MajorB> * k),
                                        advance(a, 32 * k));
            }
        };
        wgmma_begin();
        if constexpr (Chunks > 0) {
#pragma unroll
            for (int k = 0; k < Chunks; ++k) step(k);
        } else {
#pragma unroll 1
            for (int k = 0; k < chunks; ++k) wgmma_begin(), step(k);
        }
        wgmma_commit();
    }
    __device__ __forceinline__ void done() {
        pin(d[0]), pin(d[1]);
    }
};

/// Both contractions of a tile. A stage is given back when the products of the next one are under way.
template <bool Gather, class To, class Sum>
__device__ __forceinline__ void sum_stages(const HopperProduct<To>& p, const Shared& shared, Ring& ring,
                                           int group, Sum& sum) {
    int last = -1;
    for (int step = 0; step < p.steps; ++step, ring.next()) {
        barrier_wait(shared.full(ring.stage), ring.phase);
        if constexpr (Gather) async_fence();
        sum.template stage<kDepth / 16>(shared, ring.stage, group, 0);
        wgmma_wait<1>();
        if (last >= 0) release(shared.empty(last));
        last = ring.stage;
    }
    for (int step = 0; step < p.steps2; ++step, ring.next()) {
        barrier_wait(shared.full(ring.stage), ring.phase);
        sum.template stage<0>(shared, ring.stage, group, step + 1 < p.steps2 ? kDepth / 16 : p.chunks2);
        wgmma_wait<1>();
        if (last >= 0) release(shared.empty(last));
        last = ring.stage;
    }
    wgmma_wait<0>();
    sum.done();
    if (last >= 0) release(shared.empty(last));
}

#endif  // MOEGRAD_SM90A

}  // namespace moegrad::cuda::grouped
