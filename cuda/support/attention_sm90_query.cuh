#pragma once
// dq of attention on Hopper: a block of 128 rows of one query head walks its keys upwards, as forward does.
//   p = exp(a - lse),  da = p (<dy[t], v[j]> - delta[t]),  dq[t] = scale sum_j da k[j]
//
//     stays: q and dy of the rows            one thread loads: k and v of 64 keys (128 at a head of 64), two stages
//     a step of a warpgroup, 64 rows:        s = q k^T | dp = dy v^T          | dq += da k
//                                                      | p = exp2(s - lse2)   | da = p (dp - delta)
//
// Fewer keys a step than in forward: s, dp and da lie in registers beside dq, 144 of 240 at 64 keys of a head of 128; at 128
// keys it were 224. dq has a kernel of its own, which makes s and dp a second time (7 products in place of 5): beside dk and dv
// it would have to be added up between blocks, in an order that depends on timing.

#include <moegrad/cuda/support/attention_sm90.cuh>

namespace moegrad::cuda::attention {
namespace {

template <int Head>
struct QueryShape {
    static constexpr int kKeys = Head == 64 ? 128 : 64, kStages = 2;
    static constexpr int kBytesQ = kTile * Head * 2, kBytesK = kKeys * Head * 2;
    static constexpr int kShared = 1024 + 2 * kBytesQ + 2 * kStages * kBytesK + 8 * (1 + 2 * kStages);
    Address base;

    __device__ Address q() const { return base; }
    __device__ Address dy() const { return base + kBytesQ; }
    __device__ Address k(int s) const { return base + 2 * kBytesQ + 2 * s * kBytesK; }
    __device__ Address v(int s) const { return k(s) + kBytesK; }
    __device__ Address q_full() const { return k(kStages); }
    __device__ Address full(int s) const { return q_full() + 8 + 8 * s; }
    __device__ Address empty(int s) const { return full(kStages + s); }
};

#if MOEGRAD_SM90A

template <int Head>
__device__ void query_load(const Backward& p, const QueryShape<Head>& at, int row, int head) {
    using S = QueryShape<Head>;
    int first, count;
    key_range<S::kKeys>(p.rows, row, first, count);
    const int column = head / p.group * Head;
    barrier_arrive_expect(at.q_full(), 2 * S::kBytesQ);
    load_boxes<Head, kTile>(at.q(), &p.q, at.q_full(), head * Head, row);
    load_boxes<Head, kTile>(at.dy(), &p.dy, at.q_full(), head * Head, row);
    for (int n = 0; n < count; ++n) {
        const int s = n % S::kStages;
        barrier_wait(at.empty(s), n / S::kStages % 2 ^ 1);
        barrier_arrive_expect(at.full(s), 2 * S::kBytesK);
        load_boxes<Head, S::kKeys>(at.k(s), &p.k, at.full(s), column, first + n * S::kKeys);
        load_boxes<Head, S::kKeys>(at.v(s), &p.v, at.full(s), column, first + n * S::kKeys);
    }
}

template <int Head>
__device__ void query_multiply(const Backward& p, const QueryShape<Head>& at, int tile_row, int head) {
    using S = QueryShape<Head>;
    const int group = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    const int row = tile_row + 64 * group + 16 * warp + lane / 4;
    const float scale = p.scale * kLog2e;
    int first, count, first_key[2];
    float shift[2], delta[2];
    key_range<S::kKeys>(p.rows, tile_row, first, count);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int t = row + 8 * r;
        const bool inside = t < p.rows.T;
        first_key[r] = inside ? p.rows.first_key(t) : 0;
        shift[r] = inside ? p.prepared.lse2[p.prepared.at(head, t)] : INFINITY;
        delta[r] = inside ? p.prepared.delta[p.prepared.at(head, t)] : 0.0f;
    }
    float dq[Head / 2];
    clear(dq);
    barrier_wait(at.q_full(), 0);
    for (int n = 0; n < count; ++n) {
        const int stage = n % S::kStages;
        float s[S::kKeys / 2], dp[S::kKeys / 2];
        std::uint32_t da[S::kKeys / 16][4];
        const RowBits<S::kKeys> there(p.rows, first + n * S::kKeys);
        barrier_wait(at.full(stage), n / S::kStages % 2);
        if (there.holes) {
            clear_holes<Head, S::kKeys>(p.rows, at.k(stage), first + n * S::kKeys);
            clear_holes<Head, S::kKeys>(p.rows, at.v(stage), first + n * S::kKeys);
            finish_clearing();
        }
        wgmma_begin();
        product_over_head<Head, kTile, S::kKeys>(s, at.q(), 64 * group, at.k(stage));
        wgmma_commit();
        product_over_head<Head, kTile, S::kKeys>(dp, at.dy(), 64 * group, at.v(stage));
        wgmma_commit();
        wgmma_wait<1>();
        pin(s);
        // s becomes p, with lse in units of log 2; then dp becomes da. The mask comes last: the assembler moves a wait for a
        // product up to the last branch.
#pragma unroll
        for (int i = 0; i < S::kKeys / 2; ++i) s[i] = exp2_fast(fmaf(s[i], scale, -shift[i / 2 % 2]));
        const int key = first + n * S::kKeys;
        if (needs_mask(row, first_key, key, there)) mask(s, 0.0f, row, first_key, key, there);
        wgmma_wait<0>();
        pin(dp);
#pragma unroll
        for (int i = 0; i < S::kKeys / 2; ++i) dp[i] = s[i] * (dp[i] - delta[i / 2 % 2]);
        to_operand(dp, da);
        wgmma_begin();
        product_over_rows<S::kKeys>(dq, da, at.k(stage));
        wgmma_commit();
        wgmma_wait<0>();
        pin(dq);
        release_warp(at.empty(stage));
    }
    float factor[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) factor[r] = shift[r] == INFINITY ? 0.0f : p.scale;
    store_rows(dq, factor, p.out + head * Head, p.pitch, row, p.rows.T, Head, p.write);
}

#endif  // MOEGRAD_SM90A

template <int Head>
__global__ void __launch_bounds__(kHopperThreads, 1) query_sm90(const __grid_constant__ Backward p) {
#if MOEGRAD_SM90A
    using S = QueryShape<Head>;
    const S at{(shared_address(dynamic_shared<unsigned char>()) + 1023) / 1024 * 1024};
    if (threadIdx.x == 0) {
        barrier_init(at.q_full(), 1);
        for (int i = 0; i < S::kStages; ++i) barrier_init(at.full(i), 1), barrier_init(at.empty(i), 8);
        barrier_init_fence();
    }
    __syncthreads();
    int row, head;
    late_tiles_first(blockIdx.x, gridDim.x, p.heads, row, head);
    if (threadIdx.x < 128) {
        fewer_registers<24>();
        if (threadIdx.x == 0) query_load<Head>(p, at, row, head);
    } else {
        more_registers<240>();
        query_multiply<Head>(p, at, row, head);
    }
#endif
}

}  // namespace
}  // namespace moegrad::cuda::attention
