#pragma once
// Forward of attention on Hopper.
//   s[t,j] = <q[t], k[j]>,  a = scale s,  m[t] = max a,  p = exp(a - m),  y[t] = sum_j p v[j] / sum_j p
//   lse[t] = m + log sum_j p
//
//     a piece: 128 rows of one query head     one thread loads: q, and k and v of 128 keys, two stages of each
//               keys, upwards ->
//            +-----+-----+-----+              group 1   s0 | soften s0 | s1, y += p0 v0 | soften s1 | s2, y += p1 v1 | ...
//     group 1| k,v | k,v | k,v |              group 2        s0 | soften s0             | s1, y += p0 v0 | soften s1 | ...
//     group 2|  0  |  1  |  2  |                        the tensor cores' turn goes from one to the other
//            +-----+-----+-----+
//
// A warpgroup has 64 rows. Its products of a turn are the scores of the next keys and these keys' weights with their values; the
// scores are softened while the values are still met, and while the other group has the tensor cores: at a head of 128 a step
// of both takes those 2,048 cycles, its exponentials 1,024.
// Resident blocks take pieces, those with the most keys first; the next one's rows and keys are fetched while this one is
// finished.

#include <moegrad/cuda/support/attention_sm90.cuh>

namespace moegrad::cuda::attention {
namespace {

template <int Head>
struct ForwardShape {
    static constexpr int kKeys = 128, kStages = 2;
    static constexpr int kBytesQ = kTile * Head * 2, kBytesK = kKeys * Head * 2;
    static constexpr int kShared = 1024 + kBytesQ + 2 * kStages * kBytesK + 8 * (2 + 4 * kStages);
    Address base;

    __device__ Address q() const { return base; }
    __device__ Address k(int s) const { return base + kBytesQ + s * kBytesK; }
    __device__ Address v(int s) const { return k(kStages + s); }
    __device__ Address q_full() const { return k(2 * kStages); }
    __device__ Address q_empty() const { return q_full() + 8; }
    __device__ Address k_full(int s) const { return q_empty() + 8 + 8 * s; }
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
    int pieces;        // of work
    float scale;
};

#if MOEGRAD_SM90A

/// Which stage holds the keys that are walked n-th by this block, over all its pieces, and in which round.
template <int Stages>
struct KeyRing {
    int n = 0;
    __device__ int stage(int ahead = 0) const { return (n + ahead) % Stages; }
    __device__ int round(int ahead = 0) const { return (n + ahead) / Stages % 2; }
};

template <int Head>
__device__ void forward_load(const Forward& p, const ForwardShape<Head>& at) {
    using S = ForwardShape<Head>;
    KeyRing<S::kStages> ring;
    int turn = 0;
    for (int work = blockIdx.x; work < p.pieces; work += gridDim.x, turn ^= 1) {
        int row, head, first, count;
        late_tiles_first(work, p.pieces, p.heads, row, head);
        key_range<S::kKeys>(p.rows, row, first, count);
        const int column = head / p.group * Head;
        barrier_wait(at.q_empty(), turn ^ 1);
        barrier_arrive_expect(at.q_full(), S::kBytesQ);
        load_boxes<Head, kTile>(at.q(), &p.q, at.q_full(), head * Head, row);
        for (int i = 0; i < count; ++i, ++ring.n) {
            const int s = ring.stage(), round = ring.round() ^ 1, key = first + i * S::kKeys;
            barrier_wait(at.k_empty(s), round);
            barrier_arrive_expect(at.k_full(s), S::kBytesK);
            load_boxes<Head, S::kKeys>(at.k(s), &p.k, at.k_full(s), column, key);
            barrier_wait(at.v_empty(s), round);
            barrier_arrive_expect(at.v_full(s), S::kBytesK);
            load_boxes<Head, S::kKeys>(at.v(s), &p.v, at.v_full(s), column, key);
        }
    }
}

/// Turns of the two multiplying warpgroups at the tensor cores: named barriers 2 and 3, of 128 threads that wait and 128
/// that let them go on.
__device__ __forceinline__ void wait_turn(int group) {
    asm volatile("bar.sync %0, 256;" ::"r"(2 + group) : "memory");
}
__device__ __forceinline__ void give_turn(int group) {
    asm volatile("bar.arrive %0, 256;" ::"r"(3 - group) : "memory");
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

/// One piece: y and the log-sum-exp of 64 rows of a warpgroup.
template <int Head>
__device__ __forceinline__ void forward_piece(const Forward& p, const ForwardShape<Head>& at, int tile_row,
                                              int head, int turn,
                                              KeyRing<ForwardShape<Head>::kStages>& ring) {
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
    RowBits<S::kKeys> there(p.rows, first);
    barrier_wait(at.q_full(), turn);
    barrier_wait(at.k_full(ring.stage()), ring.round());
    wait_turn(group);
    wgmma_begin();
    product_over_head<Head, kTile, S::kKeys>(s, at.q(), 64 * group, at.k(ring.stage()));
    wgmma_commit();
    give_turn(group);
    wgmma_wait<0>();
    pin(s);
    release_warp(at.k_empty(ring.stage()));
    if (count == 1) release_warp(at.q_empty());
    if (needs_mask(row, first_key, first, there)) mask(s, -INFINITY, row, first_key, first, there);
    soften(s, scale, largest, sum, shrink);
    to_operand(s, weights);
    // Scores of the next keys are computed and softened while the weights of these meet their values. The assembler moves
    // a wait for a product up to the last branch: softening stands inside both arms of the mask's.
    for (int n = 0; n + 1 < count; ++n, ++ring.n) {
        const int stage = ring.stage(), next = ring.stage(1);
        barrier_wait(at.k_full(next), ring.round(1));
        barrier_wait(at.v_full(stage), ring.round());
        if (there.holes)
            clear_holes<Head, S::kKeys>(p.rows, at.v(stage), first + n * S::kKeys), finish_clearing();
        wait_turn(group);
        wgmma_begin();
        product_over_head<Head, kTile, S::kKeys>(s, at.q(), 64 * group, at.k(next));
        wgmma_commit();
        product_over_rows<S::kKeys>(y, weights, at.v(stage));
        wgmma_commit();
        give_turn(group);
        there = RowBits<S::kKeys>(p.rows, first + (n + 1) * S::kKeys);
        wgmma_wait<1>();
        pin(s);
        release_warp(at.k_empty(next));
        if (n + 2 == count) release_warp(at.q_empty());
        const int key = first + (n + 1) * S::kKeys;
        if (needs_mask(row, first_key, key, there)) {
            mask(s, -INFINITY, row, first_key, key, there);
            soften(s, scale, largest, sum, shrink);
        } else {
            soften(s, scale, largest, sum, shrink);
        }
        wgmma_wait<0>();
        pin(y);
        release_warp(at.v_empty(stage));
#pragma unroll
        for (int i = 0; i < Head / 2; ++i) y[i] *= shrink[i / 2 % 2];
        to_operand(s, weights);
    }
    const int last = ring.stage();
    barrier_wait(at.v_full(last), ring.round());
    if (there.holes)
        clear_holes<Head, S::kKeys>(p.rows, at.v(last), first + (count - 1) * S::kKeys), finish_clearing();
    wgmma_begin();
    product_over_rows<S::kKeys>(y, weights, at.v(last));
    wgmma_commit();
    wgmma_wait<0>();
    pin(y);
    release_warp(at.v_empty(last));
    ++ring.n;
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

template <int Head>
__device__ void forward_multiply(const Forward& p, const ForwardShape<Head>& at) {
    KeyRing<ForwardShape<Head>::kStages> ring;
    int turn = 0;
    if (threadIdx.x / 128 == 2) give_turn(1);  // the first turn is that of group 0
    for (int work = blockIdx.x; work < p.pieces; work += gridDim.x, turn ^= 1) {
        int row, head;
        late_tiles_first(work, p.pieces, p.heads, row, head);
        forward_piece<Head>(p, at, row, head, turn, ring);
    }
    if (threadIdx.x / 128 == 1) wait_turn(0);  // nobody leaves a barrier half full
}

#endif  // MOEGRAD_SM90A

template <int Head>
__global__ void __launch_bounds__(kHopperThreads, 1) forward_sm90(const __grid_constant__ Forward p) {
#if MOEGRAD_SM90A
    using S = ForwardShape<Head>;
    const S at{(shared_address(dynamic_shared<unsigned char>()) + 1023) / 1024 * 1024};
    if (threadIdx.x == 0) {
        barrier_init(at.q_full(), 1), barrier_init(at.q_empty(), 8);
        for (int i = 0; i < S::kStages; ++i) {
            barrier_init(at.k_full(i), 1), barrier_init(at.v_full(i), 1);
            barrier_init(at.k_empty(i), 8), barrier_init(at.v_empty(i), 8);
        }
        barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        fewer_registers<24>();
        if (threadIdx.x == 0) forward_load<Head>(p, at);
    } else {
        more_registers<240>();
        forward_multiply<Head>(p, at);
    }
#endif
}

template <int Head>
void forward_hopper(cudaStream_t stream, const View<const bf16, 2>& q, const View<const bf16, 2>& k,
                    const View<const bf16, 2>& v, const AttentionRows& rows, const View<bf16, 2>& y,
                    const View<float, 2>& lse, const AttentionOptions& options) {
    using S = ForwardShape<Head>;
    const Index T = q.extent(0), H = options.heads;
    const int pieces = static_cast<int>((T + kTile - 1) / kTile * H);
    const Forward p{tensor_map(q, kTile),
                    tensor_map(k, S::kKeys),
                    tensor_map(v, S::kKeys),
                    rows_of(rows, options),
                    y.data,
                    y.pitch,
                    lse.data,
                    static_cast<int>(H),
                    static_cast<int>(H / options.kv_heads),
                    pieces,
                    static_cast<float>(options.scale)};
    const auto blocks =
        static_cast<unsigned>(std::min(pieces, static_cast<int>(device_limits().multiprocessors)));
    launch("attention", forward_sm90<Head>, blocks, kHopperThreads, S::kShared, stream, p);
}

}  // namespace
}  // namespace moegrad::cuda::attention
