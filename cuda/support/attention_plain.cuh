#pragma once
// Attention on plain multiply-adds, in tiles (attention_tile.cuh): float and bf16, any head, any alignment,
// any device.
//   forward   a block has a tile of rows of one query head and walks their keys upwards, with a running maximum
//   dq        the same walk
//   dk, dv    a block has a tile of keys of one key-value head and walks the query heads of its group in order,
//             and of each the rows that see the keys, upwards
// Every output is written once by one block: no order depends on timing. Weights p = 2^(a log2 e - lse2) are
// float. What a row does not see enters with weight 0; tiles count from row 0 of the batch, not of a segment.
// bf16: y, dq, dk and dv are rounded once, when they are stored; delta reads y as stored.

#include <moegrad/cuda/support/attention_tile.cuh>

namespace moegrad::cuda::attention {
namespace {

template <class Real>
struct Plain {
    Heads<Real> q, k, v, dy;
    Rows rows;
    Prepared prepared{{}};
    int heads, group;  // query heads, and how many share a key-value head
    float scale;       // of the scores

    __device__ int head_dim() const { return q.head; }
};

/// delta as one chain over the head, in the order of the scores: where a row sees one key, <dy, v> - delta is
/// exactly 0.
template <class Real>
void prepare(cudaStream_t stream, const View<const Real, 2>& y, const View<const Real, 2>& dy,
             const View<const float, 2>& lse, const Rows& rows, int head, const Prepared& to) {
    const Index H = lse.extent(1);
    elements("attention: delta", stream, to.padded * H, [=] __device__(Index i) {
        const int t = static_cast<int>(i / H), h = static_cast<int>(i % H);
        const bool there = rows.there(t);
        float sum = 0;
        for (int d = 0; there && d < head; ++d) {
            sum = fmaf(wide(dy.row(t)[static_cast<Index>(h) * head + d]),
                       wide(y.row(t)[static_cast<Index>(h) * head + d]), sum);
        }
        to.delta[to.at(h, t)] = sum;
        to.lse2[to.at(h, t)] = there ? lse(t, h) * kLog2e : INFINITY;
    });
}

/// The tile of this block: late rows, which have most keys, first; heads that share keys side by side.
template <class Shape>
__device__ __forceinline__ void late_rows_first(int heads, int& row, int& head) {
    const int block = static_cast<int>(blockIdx.x), tiles = static_cast<int>(gridDim.x) / heads;
    row = (tiles - 1 - block / heads) * Shape::kTile;
    head = block % heads;
}

/// Scores in units of log 2, -infinity where a row does not see a key; then weights p, with the running
/// maximum, the sum of the weights so far, and `shrink` = 2^(old maximum - new).
template <class Shape>
__device__ __forceinline__ void soften(typename Shape::Scores& s, float (&largest)[Shape::kEach],
                                       float (&sum)[Shape::kEach], float (&shrink)[Shape::kEach]) {
#pragma unroll
    for (int i = 0; i < Shape::kEach; ++i) {
        float most = s[i][0], part = 0;
#pragma unroll
        for (int j = 1; j < Shape::kEach; ++j) most = fmaxf(most, s[i][j]);
        most = fmaxf(largest[i], across(most, [](float a, float b) { return fmaxf(a, b); }));
        const float shift = most == -INFINITY ? 0.0f : most;  // a row that has seen nothing: all weights 0
        shrink[i] = exp2f(largest[i] - shift);
        largest[i] = most;
#pragma unroll
        for (int j = 0; j < Shape::kEach; ++j) {
            s[i][j] = exp2f(s[i][j] - shift);
            part += s[i][j];
        }
        sum[i] = sum[i] * shrink[i] + across(part, [](float a, float b) { return a + b; });
    }
}

/// Rows of this thread: the first key each sees; none where the row is not there.
template <class Shape>
__device__ __forceinline__ void first_keys(const Shape& tile, const Rows& rows, int row,
                                           int (&first)[Shape::kEach]) {
#pragma unroll
    for (int i = 0; i < Shape::kEach; ++i) {
        const int t = row + tile.row(i);
        first[i] = rows.there(t) ? rows.first_key(t) : rows.T;
    }
}

template <class Shape, class Real>
__global__ void __launch_bounds__(kTileThreads)
    forward_plain(const Plain<Real> p, const View<Real, 2> y, const View<float, 2> lse) {
    constexpr int kEach = Shape::kEach;
    const Shape tile(dynamic_shared<float>());
    __shared__ bool alive[Shape::kTile];
    int row, head, first[kEach];
    late_rows_first<Shape>(p.heads, row, head);
    first_keys(tile, p.rows, row, first);
    float largest[kEach], sum[kEach] = {}, shrink[kEach];
    typename Shape::Scores s;
    typename Shape::Sums sums = {};
#pragma unroll
    for (int i = 0; i < kEach; ++i) largest[i] = -INFINITY;
    load_tile<Shape>(p.q, p.rows, row, head, tile.a);
    const int end = min(row + Shape::kTile, p.rows.T);
    for (int key = p.rows.first_key(row); key < end; key += Shape::kTile) {
        __syncthreads();
        load_tile<Shape>(p.k, p.rows, key, head / p.group, tile.b);
        if (threadIdx.x < Shape::kTile)
            alive[threadIdx.x] = p.rows.there(key + static_cast<int>(threadIdx.x));
        __syncthreads();
        multiply_heads(tile, s);
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
            const int t = row + tile.row(i);
#pragma unroll
            for (int j = 0; j < kEach; ++j) {
                const int n = key + tile.other(j);
                const bool seen = n <= t && n >= first[i] && alive[tile.other(j)];
                s[i][j] = seen ? s[i][j] * (p.scale * kLog2e) : -INFINITY;
            }
        }
        soften<Shape>(s, largest, sum, shrink);
        store_weights(tile, s);
        __syncthreads();
        load_tile<Shape>(p.v, p.rows, key, head / p.group, tile.b);
#pragma unroll
        for (int i = 0; i < kEach * Shape::kColumns; ++i)
            sums[i / Shape::kColumns][i % Shape::kColumns] *= shrink[i / Shape::kColumns];
        __syncthreads();
        multiply_weights(tile, sums);
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
        const int t = row + tile.row(i);
        const bool saw = sum[i] != 0;  // a NaN was seen, and stays
        if (t < p.rows.T && tile.x == 0) lse(t, head) = saw ? (largest[i] + log2f(sum[i])) * kLog2 : 0.0f;
#pragma unroll
        for (float& value : sums[i]) value = saw ? value / sum[i] : 0.0f;
        shrink[i] = 1;
    }
    store_sums(tile, sums, shrink, p.rows, row, head, p.head_dim(), y, Write::overwrite);
}

/// From <q, k> in s and <dy, v> in dp: weights p in s and da in dp.
__device__ __forceinline__ void differentiate(float& s, float& dp, bool seen, float scale2, float lse2,
                                              float delta) {
    s = seen ? exp2f(fmaf(s, scale2, -lse2)) : 0.0f;
    dp = seen ? s * (dp - delta) : 0.0f;
}

template <class Shape, class Real>
__global__ void __launch_bounds__(kTileThreads)
    query_plain(const Plain<Real> p, const AttentionGradient<Real> dq) {
    constexpr int kEach = Shape::kEach;
    const Shape tile(dynamic_shared<float>());
    __shared__ bool alive[Shape::kTile];
    int row, head, first[kEach];
    late_rows_first<Shape>(p.heads, row, head);
    first_keys(tile, p.rows, row, first);
    float lse2[kEach], delta[kEach], factor[kEach];
    typename Shape::Scores s, dp;
    typename Shape::Sums sums = {};
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
        const Index at = p.prepared.at(head, row + tile.row(i));
        lse2[i] = p.prepared.lse2[at], delta[i] = p.prepared.delta[at], factor[i] = p.scale;
    }
    const int end = min(row + Shape::kTile, p.rows.T);
    for (int key = p.rows.first_key(row); key < end; key += Shape::kTile) {
        __syncthreads();
        load_tile<Shape>(p.dy, p.rows, row, head, tile.a);
        load_tile<Shape>(p.v, p.rows, key, head / p.group, tile.b);
        if (threadIdx.x < Shape::kTile)
            alive[threadIdx.x] = p.rows.there(key + static_cast<int>(threadIdx.x));
        __syncthreads();
        multiply_heads(tile, dp);
        __syncthreads();
        load_tile<Shape>(p.q, p.rows, row, head, tile.a);
        load_tile<Shape>(p.k, p.rows, key, head / p.group, tile.b);
        __syncthreads();
        multiply_heads(tile, s);
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
            const int t = row + tile.row(i);
#pragma unroll
            for (int j = 0; j < kEach; ++j) {
                const int n = key + tile.other(j);
                const bool seen = n <= t && n >= first[i] && alive[tile.other(j)];
                differentiate(s[i][j], dp[i][j], seen, p.scale * kLog2e, lse2[i], delta[i]);
            }
        }
        store_weights(tile, dp);
        __syncthreads();
        multiply_weights(tile, sums);
    }
    store_sums(tile, sums, factor, p.rows, row, head, p.head_dim(), dq.view, dq.write);
}

template <class Shape, class Real>
__global__ void __launch_bounds__(kTileThreads)
    key_plain(const Plain<Real> p, const AttentionGradient<Real> dk, const AttentionGradient<Real> dv) {
    constexpr int kEach = Shape::kEach, kTile = Shape::kTile;
    const Shape tile(dynamic_shared<float>());
    __shared__ int first[kTile];  // of the rows at hand
    __shared__ float lse2[kTile], delta[kTile];
    const int kv_heads = p.heads / p.group, kv = static_cast<int>(blockIdx.x) % kv_heads;
    const int key =
        static_cast<int>(blockIdx.x) / kv_heads * kTile;  // early keys, which have most readers, first
    float scaled[kEach], one[kEach];
    bool alive[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
        alive[i] = p.rows.there(key + tile.row(i));
        scaled[i] = p.scale, one[i] = 1;
    }
    typename Shape::Scores s, dp;
    typename Shape::Sums k_sums = {}, v_sums = {};
    const int end = p.rows.end_of_readers(min(key + kTile, p.rows.T) - 1);
    for (int head = kv * p.group; head < (kv + 1) * p.group; ++head) {
        for (int row = key; row < end; row += kTile) {
            __syncthreads();
            load_tile<Shape>(p.v, p.rows, key, kv, tile.a);
            load_tile<Shape>(p.dy, p.rows, row, head, tile.b);
            if (threadIdx.x < kTile) {
                const int t = row + static_cast<int>(threadIdx.x);
                const bool there = p.rows.there(t);
                first[threadIdx.x] = there ? p.rows.first_key(t) : p.rows.T;
                lse2[threadIdx.x] = there ? p.prepared.lse2[p.prepared.at(head, t)] : INFINITY;
                delta[threadIdx.x] = there ? p.prepared.delta[p.prepared.at(head, t)] : 0.0f;
            }
            __syncthreads();
            multiply_heads(tile, dp);
            __syncthreads();
            load_tile<Shape>(p.k, p.rows, key, kv, tile.a);
            load_tile<Shape>(p.q, p.rows, row, head, tile.b);
            __syncthreads();
            multiply_heads(tile, s);
#pragma unroll
            for (int i = 0; i < kEach; ++i) {
                const int n = key + tile.row(i);
#pragma unroll
                for (int j = 0; j < kEach; ++j) {
                    const int at = tile.other(j);
                    const bool seen = n <= row + at && n >= first[at] && alive[i];
                    differentiate(s[i][j], dp[i][j], seen, p.scale * kLog2e, lse2[at], delta[at]);
                }
            }
            store_weights(tile, dp);
            __syncthreads();
            multiply_weights(tile, k_sums);
            if (!dv.wanted) continue;
            __syncthreads();
            store_weights(tile, s);
            load_tile<Shape>(p.dy, p.rows, row, head, tile.b);
            __syncthreads();
            multiply_weights(tile, v_sums);
        }
    }
    if (dk.wanted) store_sums(tile, k_sums, scaled, p.rows, key, kv, p.head_dim(), dk.view, dk.write);
    if (dv.wanted) store_sums(tile, v_sums, one, p.rows, key, kv, p.head_dim(), dv.view, dv.write);
}

}  // namespace
}  // namespace moegrad::cuda::attention
