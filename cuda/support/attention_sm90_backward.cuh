#pragma once
// Backward of attention on Hopper: delta and lse in the order of the kernels, then dq, then dk and dv.
//   delta[t] = <dy[t], y[t]>, y as it is stored
// delta is added in another order than wgmma adds <dy, v>: where a row sees one key, their difference is a rounding of
// that sum, not the exact 0 of the plain kernels.

#include <moegrad/cuda/support/attention_sm90_key.cuh>
#include <moegrad/cuda/support/attention_sm90_query.cuh>

namespace moegrad::cuda::attention {
namespace {

/// A warp per row and head, Head / 32 neighbouring columns a lane.
template <int Head>
void prepare_hopper(cudaStream_t stream, const View<const bf16, 2>& y, const View<const bf16, 2>& dy,
                    const View<const float, 2>& lse, const Rows& rows, const Prepared& to) {
    constexpr int kWords = Head / 64;
    const Index H = lse.extent(1);
    warps("attention: delta", stream, to.padded * H, [=] __device__(Index item, int lane) {
        const int t = static_cast<int>(item / H), h = static_cast<int>(item % H);
        const bool there = rows.there(t);
        float sum = 0;
        if (there) {
            const auto* a = reinterpret_cast<const std::uint32_t*>(y.row(t) + h * Head) + lane * kWords;
            const auto* b = reinterpret_cast<const std::uint32_t*>(dy.row(t) + h * Head) + lane * kWords;
#pragma unroll
            for (int i = 0; i < kWords; ++i) {
                sum = fmaf(grouped::low(a[i]), grouped::low(b[i]), sum);
                sum = fmaf(grouped::high(a[i]), grouped::high(b[i]), sum);
            }
        }
        sum = warp_sum(sum);
        if (lane != 0) return;
        to.delta[to.at(h, t)] = sum;
        to.lse2[to.at(h, t)] = there ? lse(t, h) * kLog2e : INFINITY;
    });
}

template <int Head>
void backward_hopper(cudaStream_t stream, const View<const bf16, 2>& q, const View<const bf16, 2>& k,
                     const View<const bf16, 2>& v, const AttentionRows& rows, const View<const bf16, 2>& y,
                     const View<const float, 2>& lse, const View<const bf16, 2>& dy,
                     const View<float, 3>& room, const AttentionGradient<bf16>& dq,
                     const AttentionGradient<bf16>& dk, const AttentionGradient<bf16>& dv,
                     const AttentionOptions& options) {
    const Index H = options.heads, Hkv = options.kv_heads, tiles = (q.extent(0) + kTile - 1) / kTile;
    Backward p;
    p.rows = rows_of(rows, options);
    p.prepared = Prepared(room);
    p.heads = static_cast<int>(H), p.group = static_cast<int>(H / Hkv);
    p.scale = static_cast<float>(options.scale);
    prepare_hopper<Head>(stream, y, dy, lse, p.rows, p.prepared);
    if (dq.wanted) {
        using S = QueryShape<Head>;
        p.q = tensor_map(q, kTile), p.dy = tensor_map(dy, kTile);
        p.k = tensor_map(k, S::kKeys), p.v = tensor_map(v, S::kKeys);
        p.out = dq.view.data, p.pitch = dq.view.pitch, p.write = dq.write;
        launch("attention: dq", query_sm90<Head>, static_cast<unsigned>(tiles * H), kHopperThreads,
               S::kShared, stream, p);
    }
    if (dk.wanted || dv.wanted) {
        using S = KeyShape<Head>;
        p.q = tensor_map(q, S::kRows), p.dy = tensor_map(dy, S::kRows);
        p.k = tensor_map(k, kTile), p.v = tensor_map(v, kTile);
        p.out = dk.wanted ? dk.view.data : nullptr, p.pitch = dk.view.pitch, p.write = dk.write;
        p.out2 = dv.wanted ? dv.view.data : nullptr, p.pitch2 = dv.view.pitch, p.write2 = dv.write;
        launch("attention: dk, dv", key_sm90<Head>, static_cast<unsigned>(tiles * Hkv), kHopperThreads,
               S::kShared, stream, p);
    }
}

}  // namespace
}  // namespace moegrad::cuda::attention
