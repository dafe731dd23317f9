#pragma once
// dk and dv of attention on Hopper: a block of 128 keys of one key-value head walks the query heads of its
// group, and of each the rows that see the keys, upwards.
//   dk[j] = scale sum_h sum_t da q[t],   dv[j] = sum_h sum_t p dy[t]
//
//     stays: k and v of the keys             one thread loads: q, dy, lse2 and delta of 64 rows, four stages (two at a head of 64)
//     a step of a warpgroup, 64 keys:        s^T = k q^T | dp^T = v dy^T          | dv += p^T dy            | dk += da^T q
//                                                        | p = exp2(s - lse2)     | da = p (dp - delta)     |
//
// All products are turned: keys are the rows of s^T, so that p^T and da^T are left in registers just as the next product takes
// its first operand. 64 rows a step: dk, dv, s, dp and both operands take 224 registers at a head of 128.

#include <moegrad/cuda/support/attention_sm90.cuh>

namespace moegrad::cuda::attention {
namespace {

template <int Head>
struct KeyShape {
    static constexpr int kRows = 64, kStages = Head == 64 ? 2 : 4;
    static constexpr int kBytesK = kTile * Head * 2, kBytesQ = kRows * Head * 2,
                         kBytesScalars = 2 * kRows * 4;
    static constexpr int kShared =
        1024 + 2 * kBytesK + kStages * (2 * kBytesQ + kBytesScalars) + 8 * (1 + 2 * kStages);
    Address base;

    __device__ Address k() const { return base; }
    __device__ Address v() const { return base + kBytesK; }
    __device__ Address q(int s) const { return base + 2 * kBytesK + 2 * s * kBytesQ; }
    __device__ Address dy(int s) const { return q(s) + kBytesQ; }
    __device__ Address lse(int s) const { return q(kStages) + s * kBytesScalars; }
    __device__ Address delta(int s) const { return lse(s) + kRows * 4; }
    __device__ Address k_full() const { return lse(kStages); }
    __device__ Address full(int s) const { return k_full() + 8 + 8 * s; }
    __device__ Address empty(int s) const { return full(kStages + s); }
};

#if MOEGRAD_SM90A

__device__ __forceinline__ float2 get_shared(Address from) {
    float2 x;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x.x), "=f"(x.y) : "r"(from));
    return x;
}

/// Rows that see a key of the tile: tiles of Rows from the tile's own first row.
template <int Rows_>
__device__ __forceinline__ int reader_tiles(const Rows& rows, int key) {
    const int last = min(key + kTile, rows.T) - 1;
    return (rows.end_of_readers(last) - key + Rows_ - 1) / Rows_;
}

template <int Head>
__device__ void key_load(const Backward& p, const KeyShape<Head>& at, int key, int kv_head) {
    using S = KeyShape<Head>;
    const int tiles = reader_tiles<S::kRows>(p.rows, key);
    barrier_arrive_expect(at.k_full(), 2 * S::kBytesK);
    load_boxes<Head, kTile>(at.k(), &p.k, at.k_full(), kv_head * Head, key);
    load_boxes<Head, kTile>(at.v(), &p.v, at.k_full(), kv_head * Head, key);
    int n = 0;
    for (int head = kv_head * p.group; head < (kv_head + 1) * p.group; ++head) {
        for (int tile = 0; tile < tiles; ++tile, ++n) {
            const int s = n % S::kStages, row = key + tile * S::kRows;
            const Index scalars = p.prepared.at(head, row);
            barrier_wait(at.empty(s), n / S::kStages % 2 ^ 1);
            barrier_arrive_expect(at.full(s), 2 * S::kBytesQ + S::kBytesScalars);
            load_boxes<Head, S::kRows>(at.q(s), &p.q, at.full(s), head * Head, row);
            load_boxes<Head, S::kRows>(at.dy(s), &p.dy, at.full(s), head * Head, row);
            load_bytes(at.lse(s), p.prepared.lse2 + scalars, S::kRows * 4, at.full(s));
            load_bytes(at.delta(s), p.prepared.delta + scalars, S::kRows * 4, at.full(s));
        }
    }
}

template <int Head>
__device__ void key_multiply(const Backward& p, const KeyShape<Head>& at, int tile_key, int kv_head) {
    using S = KeyShape<Head>;
    constexpr int kSize = S::kRows / 2;
    const int group = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    const int key = tile_key + 64 * group + 16 * warp + lane / 4;
    const int tiles = reader_tiles<S::kRows>(p.rows, tile_key), last_of_warp = key - lane / 4 + 15;
    const float scale = p.scale * kLog2e;
    int end[2];  // of the readers of this lane's keys; 0: nobody
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int j = key + 8 * r;
        end[r] = j < p.rows.T && p.rows.valid[j] != 0 ? p.rows.end_of_readers(j) : 0;
    }
    float dk[Head / 2], dv[Head / 2];
    clear(dk), clear(dv);
    barrier_wait(at.k_full(), 0);
    int n = 0;
    for (int head = 0; head < p.group; ++head) {
        for (int tile = 0; tile < tiles; ++tile, ++n) {
            const int stage = n % S::kStages, row = tile_key + tile * S::kRows;
            float s[kSize], dp[kSize];
            std::uint32_t a[kSize / 8][4];
            const bool holes = RowBits<S::kRows>(p.rows, row).holes;
            barrier_wait(at.full(stage), n / S::kStages % 2);
            if (holes) {
                clear_holes<Head, S::kRows>(p.rows, at.q(stage), row);
                clear_holes<Head, S::kRows>(p.rows, at.dy(stage), row);
                finish_clearing();
            }
            wgmma_begin();
            product_over_head<Head, kTile, S::kRows>(s, at.k(), 64 * group, at.q(stage));
            wgmma_commit();
            product_over_head<Head, kTile, S::kRows>(dp, at.v(), 64 * group, at.dy(stage));
            wgmma_commit();
            const bool plain = __all_sync(~0u, row >= last_of_warp && row + S::kRows <= min(end[0], end[1]));
            wgmma_wait<1>();
            pin(s);
#pragma unroll
            for (int i = 0; i < kSize; i += 4) {
                const float2 shift = get_shared(at.lse(stage) + (i * 2 + lane % 4 * 2) * 4);
                s[i] = exp2_fast(fmaf(s[i], scale, -shift.x)),
                s[i + 1] = exp2_fast(fmaf(s[i + 1], scale, -shift.y));
                s[i + 2] = exp2_fast(fmaf(s[i + 2], scale, -shift.x));
                s[i + 3] = exp2_fast(fmaf(s[i + 3], scale, -shift.y));
            }
            if (!plain) {
#pragma unroll
                for (int i = 0; i < kSize; ++i) {
                    const int t = row + i / 4 * 8 + lane % 4 * 2 + i % 2;
                    const bool seen = t >= key + i / 2 % 2 * 8 && t < end[i / 2 % 2];
                    s[i] = seen ? s[i] : 0.0f;
                }
            }
            to_operand(s, a);
            wgmma_wait<0>();
            pin(dp);
            wgmma_begin();
            product_over_rows<S::kRows>(dv, a, at.dy(stage));
            wgmma_commit();
#pragma unroll
            for (int i = 0; i < kSize; i += 4) {
                const float2 delta = get_shared(at.delta(stage) + (i * 2 + lane % 4 * 2) * 4);
                dp[i] = s[i] * (dp[i] - delta.x), dp[i + 1] = s[i + 1] * (dp[i + 1] - delta.y);
                dp[i + 2] = s[i + 2] * (dp[i + 2] - delta.x), dp[i + 3] = s[i + 3] * (dp[i + 3] - delta.y);
            }
            std::uint32_t da[kSize / 8][4];
            to_operand(dp, da);
            wgmma_begin();
            product_over_rows<S::kRows>(dk, da, at.q(stage));
            wgmma_commit();
            wgmma_wait<0>();
            pin(dv), pin(dk);
            barrier_arrive(at.empty(stage));  // every thread: all have read lse and delta
        }
    }
    const float one[2] = {end[0] > 0 ? 1.0f : 0.0f, end[1] > 0 ? 1.0f : 0.0f};
    const float factor[2] = {one[0] * p.scale, one[1] * p.scale};
    if (p.out != nullptr)
        store_rows(dk, factor, p.out + kv_head * Head, p.pitch, key, p.rows.T, Head, p.write);
    if (p.out2 != nullptr)
        store_rows(dv, one, p.out2 + kv_head * Head, p.pitch2, key, p.rows.T, Head, p.write2);
}

#endif  // MOEGRAD_SM90A

template <int Head>
__global__ void __launch_bounds__(kHopperThreads, 1) key_sm90(const __grid_constant__ Backward p) {
#if MOEGRAD_SM90A
    using S = KeyShape<Head>;
    const S at{(shared_address(dynamic_shared<unsigned char>()) + 1023) / 1024 * 1024};
    if (threadIdx.x == 0) {
        barrier_init(at.k_full(), 1);
        for (int i = 0; i < S::kStages; ++i) barrier_init(at.full(i), 1), barrier_init(at.empty(i), 2 * 128);
        barrier_init_fence();
    }
    __syncthreads();
    const int kv_heads = p.heads / p.group;
    const int key = blockIdx.x / kv_heads * kTile, kv_head = blockIdx.x % kv_heads;  // long ones first
    if (threadIdx.x < 128) {
        fewer_registers<24>();
        if (threadIdx.x == 0) key_load<Head>(p, at, key, kv_head);
    } else {
        more_registers<240>();
        key_multiply<Head>(p, at, key, kv_head);
    }
#endif
}

}  // namespace
}  // namespace moegrad::cuda::attention
