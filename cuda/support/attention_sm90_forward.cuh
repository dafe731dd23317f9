#pragma once
// Forward of attention on Hopper: a block of 128 rows of one query head walks its keys upwards. Scores of the
// next keys are computed and softened while the weights of these meet their values.
//   s[t,j] = <q[t], k[j]>,  a = scale s,  m[t] = max a,  p = exp(a - m),  y[t] = sum_j p v[j] / sum_j p
//   lse[t] = m + log sum_j p

#include <moegrad/cuda/support/attention_sm90.cuh>

namespace moegrad::cuda::attention {
namespace {

template <int Head>
struct ForwardShape {
    static constexpr int kKeys = 128, kStages = 2;
    static constexpr int kBytesQ = kTile * Head * 2, kBytesK = kKeys * Head * 2;
    static constexpr int kShared = 1024 + kBytesQ + 2 * kStages * kBytesK + 8 * (1 + 4 * kStages);
    Address base;

    __device__ Address q() const { return base; }
    __device__ Address k(int s) const { return base + kBytesQ + s * kBytesK; }
    __device__ Address v(int s) const { return k(kStages + s); }
    __device__ Address q_full() const { return k(2 * kStages); }
    __device__ Address k_full(int s) const { return q_full() + 8 + 8 * s; }
    __device__ Address k_empty(int s) const { return k_full(kStages + s); }
    __device__ Address v_full(int s) const { return k_full(2 * kStages + s); }
    __device__ Address v_empty(int s) const { return k_full(3 * kStages + s); }
};

struct Forward {
    CUtensorMap q, k, v;
    Rows rows;
    bf16* y;
    Index y_pitch;
    float* lse;
    int heads, group;  // query heads, and how many share a key-value head
    float scale;
};

#if MOEGRAD_SM90A

template <int Head>
__device__ void forward_load(const Forward& p, const ForwardShape<Head>& at, int row, int head) {
    using S = ForwardShape<Head>;
    int first, count;
    key_range<S::kKeys>(p.rows, row, first, count);
    const int column = head / p.group * Head;
    barrier_arrive_expect(at.q_full(), S::kBytesQ);
    load_boxes<Head, kTile>(at.q(), &p.q, at.q_full(), head * Head, row);
    for (int n = 0; n < count; ++n) {
        const int s = n % S::kStages, phase = n / S::kStages % 2 ^ 1, key = first + n * S::kKeys;
        barrier_wait(at.k_empty(s), phase);
        barrier_arrive_expect(at.k_full(s), S::kBytesK);
        load_boxes<Head, S::kKeys>(at.k(s), &p.k, at.k_full(s), column, key);
        barrier_wait(at.v_empty(s), phase);
        barrier_arrive_expect(at.v_full(s), S::kBytesK);
        load_boxes<Head, S::kKeys>(at.v(s), &p.v, at.v_full(s), column, key);
    }
}

/// One step of the running maximum: s becomes p, y's factor is returned in `shrink`.
template <int Size>
__device__ __forceinline__ void soften(float (&s)[Size], float scale, float (&largest)[2], float (&sum)[2],
                                       float (&shrink)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        float m = largest[r];
#pragma unroll
        for (int i = 0; i < Size; i += 4) m = fmaxf(m, fmaxf(s[i + 2 * r], s[i + 2 * r + 1]));
        m = quad_max(m);
        const float shift = m == -INFINITY ? 0.0f : m * scale;
        shrink[r] = exp2_fast(largest[r] * scale - shift);
        largest[r] = m;
        float part = 0;
#pragma unroll
        for (int i = 0; i < Size; i += 4) {
            s[i + 2 * r] = exp2_fast(fmaf(s[i + 2 * r], scale, -shift));
            s[i + 2 * r + 1] = exp2_fast(fmaf(s[i + 2 * r + 1], scale, -shift));
            part += s[i + 2 * r] + s[i + 2 * r + 1];
        }
        sum[r] = sum[r] * shrink[r] + part;
    }
}

template <int Head>
__device__ void forward_multiply(const Forward& p, const ForwardShape<Head>& at, int tile_row, int head) {
    using S = ForwardShape<Head>;
    const int group = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    const int row = tile_row + 64 * group + 16 * warp + lane / 4;
    const float scale = p.scale * kLog2e;
    int first, count, first_key[2];
    key_range<S::kKeys>(p.rows, tile_row, first, count);
#pragma unroll
    for (int r = 0; r < 2; ++r) first_key[r] = row + 8 * r < p.rows.T ? p.rows.first_key(row + 8 * r) : 0;
    float y[Head / 2], s[S::kKeys / 2], largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, shrink[2];
    std::uint32_t weights[S::kKeys / 16][4];
    clear(y);
    bool whole = no_holes<S::kKeys>(p.rows, first);
    barrier_wait(at.q_full(), 0);
    barrier_wait(at.k_full(0), 0);
    wgmma_begin();
    product_over_head<Head, kTile, S::kKeys>(s, at.q(), 64 * group, at.k(0));
    wgmma_commit();
    wgmma_wait<0>();
    pin(s);
    release_warp(at.k_empty(0));
    mask(p.rows, s, row, first_key, first, whole);
    soften(s, scale, largest, sum, shrink);
    to_operand(s, weights);
    // Scores of the next keys are computed and softened while the weights of these meet their values.
    int n = 0;
    for (; n + 1 < count; ++n) {
        const int stage = n % S::kStages, next = (n + 1) % S::kStages;
        barrier_wait(at.k_full(next), (n + 1) / S::kStages % 2);
        barrier_wait(at.v_full(stage), n / S::kStages % 2);
        if (!whole) clear_holes<Head, S::kKeys>(p.rows, at.v(stage), first + n * S::kKeys), finish_clearing();
        wgmma_begin();
        product_over_head<Head, kTile, S::kKeys>(s, at.q(), 64 * group, at.k(next));
        wgmma_commit();
        product_over_rows<S::kKeys>(y, weights, at.v(stage));
        wgmma_commit();
        whole = no_holes<S::kKeys>(p.rows, first + (n + 1) * S::kKeys);
        wgmma_wait<1>();
        pin(s);
        release_warp(at.k_empty(next));
        mask(p.rows, s, row, first_key, first + (n + 1) * S::kKeys, whole);
        soften(s, scale, largest, sum, shrink);
        wgmma_wait<0>();
        pin(y);
        release_warp(at.v_empty(stage));
#pragma unroll
        for (int i = 0; i < Head / 2; ++i) y[i] *= shrink[i / 2 % 2];
        to_operand(s, weights);
    }
    barrier_wait(at.v_full(n % S::kStages), n / S::kStages % 2);
    if (!whole)
        clear_holes<Head, S::kKeys>(p.rows, at.v(n % S::kStages), first + n * S::kKeys), finish_clearing();
    wgmma_begin();
    product_over_rows<S::kKeys>(y, weights, at.v(n % S::kStages));
    wgmma_commit();
    wgmma_wait<0>();
    pin(y);
    float factor[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int t = row + 8 * r;
        const float total = quad_sum(sum[r]);
        const bool sees = p.rows.there(t);
        factor[r] = sees ? 1.0f / total : 0.0f;
        if (t < p.rows.T && lane % 4 == 0) {
            p.lse[static_cast<Index>(t) * p.heads + head] = sees ? largest[r] * p.scale + logf(total) : 0.0f;
        }
    }
    store_rows(y, factor, p.y + head * Head, p.y_pitch, row, p.rows.T, Head, Write::overwrite);
}

#endif  // MOEGRAD_SM90A

template <int Head>
__global__ void __launch_bounds__(kHopperThreads, 1) forward_sm90(const __grid_constant__ Forward p) {
#if MOEGRAD_SM90A
    using S = ForwardShape<Head>;
    const S at{(shared_address(dynamic_shared<unsigned char>()) + 1023) / 1024 * 1024};
    if (threadIdx.x == 0) {
        barrier_init(at.q_full(), 1);
        for (int i = 0; i < S::kStages; ++i) {
            barrier_init(at.k_full(i), 1), barrier_init(at.v_full(i), 1);
            barrier_init(at.k_empty(i), 8), barrier_init(at.v_empty(i), 8);
        }
        barrier_init_fence();
    }
    __syncthreads();
    int row, head;
    late_tiles_first(p.heads, row, head);
    if (threadIdx.x < 128) {
        fewer_registers<24>();
        if (threadIdx.x == 0) forward_load<Head>(p, at, row, head);
    } else {
        more_registers<240>();
        forward_multiply<Head>(p, at, row, head);
    }
#endif
}

template <int Head>
void forward_hopper(cudaStream_t stream, const View<const bf16, 2>& q, const View<const bf16, 2>& k,
                    const View<const bf16, 2>& v, const AttentionRows& rows, const View<bf16, 2>& y,
                    const View<float, 2>& lse, const AttentionOptions& options) {
    using S = ForwardShape<Head>;
    const Index T = q.extent(0), H = options.heads;
    const Forward p{tensor_map(q, kTile),
                    tensor_map(k, S::kKeys),
                    tensor_map(v, S::kKeys),
                    rows_of(rows, options),
                    y.data,
                    y.pitch,
                    lse.data,
                    static_cast<int>(H),
                    static_cast<int>(H / options.kv_heads),
                    static_cast<float>(options.scale)};
    const unsigned blocks = static_cast<unsigned>((T + kTile - 1) / kTile * H);
    launch("attention", forward_sm90<Head>, blocks, kHopperThreads, S::kShared, stream, p);
}

}  // namespace
}  // namespace moegrad::cuda::attention
