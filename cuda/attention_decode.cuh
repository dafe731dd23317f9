#pragma once
// CUDA kernels of ops/attention_decode.hpp. A block has one new row of one query head: its eight warps take
// groups of four keys in turns, upwards, each with a running maximum, and their parts are added in the order
// of the warps. A dot product runs over the lanes in pairs by distance (support/rows.cuh). All sums in float;
// bf16: y is rounded once.

#include <moegrad/cuda/support/attention_rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/attention_decode.hpp>

namespace moegrad::cuda::attention_decode {
namespace {

using attention::kLog2e;

inline constexpr int kWarps = 8, kGroup = 4;  // keys of a warp at a time

template <class Real>
struct Decode {
    View<const Real, 2> q, k, v;
    View<Real, 2> y;
    int heads, group, head, window;  // group: query heads that share a key-value head
    float scale;
};

/// One warp's part of a row: keys of its groups; columns lane + 32 c of y.
template <int Columns>
struct Part {
    float largest = -INFINITY, sum = 0, y[Columns] = {};

    template <class Real>
    __device__ void add(const Decode<Real>& p, const float (&q)[Columns], Index key, Index end, Index column,
                        int lane) {
        float s[kGroup], most = largest;
#pragma unroll
        for (int i = 0; i < kGroup; ++i) {
            float dot = 0;
#pragma unroll
            for (int c = 0; c < Columns; ++c) {
                const int d = lane + kWarp * c;
                if (key + i < end && d < p.head) dot = fmaf(q[c], wide(p.k(key + i, column + d)), dot);
            }
            s[i] = key + i < end ? warp_sum(dot) * (p.scale * kLog2e) : -INFINITY;
            most = fmaxf(most, s[i]);
        }
        const float shift = most == -INFINITY ? 0.0f : most, shrink = exp2f(largest - shift);
        largest = most;
        sum *= shrink;
#pragma unroll
        for (int c = 0; c < Columns; ++c) y[c] *= shrink;
#pragma unroll
        for (int i = 0; i < kGroup; ++i) {
            if (key + i >= end) continue;
            const float weight = exp2f(s[i] - shift);
            sum += weight;
#pragma unroll
            for (int c = 0; c < Columns; ++c) {
                const int d = lane + kWarp * c;
                if (d < p.head) y[c] = fmaf(weight, wide(p.v(key + i, column + d)), y[c]);
            }
        }
    }
};

template <int Columns, class Real>
__global__ void __launch_bounds__(kWarps* kWarp) row_kernel(const Decode<Real> p) {
    __shared__ float largest[kWarps], sum[kWarps], part_y[kWarps][kWarp * Columns];
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const Index row = blockIdx.x / p.heads, t = p.k.extent(0) - p.q.extent(0) + row;
    const int h = static_cast<int>(blockIdx.x) % p.heads;
    const Index column = static_cast<Index>(h) * p.head,
                key_column = static_cast<Index>(h / p.group) * p.head;
    const Index first = p.window == 0 || t < p.window ? 0 : t - p.window + 1;
    float q[Columns];
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
        const int d = lane + kWarp * c;
        q[c] = d < p.head ? wide(p.q(row, column + d)) : 0.0f;
    }
    Part<Columns> part;
    for (Index key = first + warp * kGroup; key <= t; key += kWarps * kGroup) {
        part.add(p, q, key, t + 1, key_column, lane);
    }
    if (lane == 0) largest[warp] = part.largest, sum[warp] = part.sum;
#pragma unroll
    for (int c = 0; c < Columns; ++c) part_y[warp][lane + kWarp * c] = part.y[c];
    __syncthreads();
    const int d = static_cast<int>(threadIdx.x);
    if (d >= p.head) return;
    float most = -INFINITY, total = 0, y = 0;
    for (int w = 0; w < kWarps; ++w) most = fmaxf(most, largest[w]);
    if (most == -INFINITY) most = 0;  // all scores were NaN
    for (int w = 0; w < kWarps; ++w) {
        const float factor = exp2f(largest[w] - most);  // 0 for a warp without keys
        total = fmaf(factor, sum[w], total);
        y = fmaf(factor, part_y[w][d], y);
    }
    p.y(row, column + d) = narrow<Real>(y / total);
}

template <class Real>
void forward(Stream stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v,
             View<Real, 2> y, AttentionOptions options) {
    const Index H = options.heads, head = options.head_dim;
    const Decode<Real> p{q,
                         k,
                         v,
                         y,
                         static_cast<int>(H),
                         static_cast<int>(H / options.kv_heads),
                         static_cast<int>(head),
                         static_cast<int>(options.window < k.extent(0) ? options.window : 0),
                         static_cast<float>(options.scale)};
    const auto kernel = head <= 64    ? row_kernel<2, Real>
                        : head <= 128 ? row_kernel<4, Real>
                                      : row_kernel<8, Real>;
    launch("attention_decode", kernel, static_cast<unsigned>(q.extent(0) * H), kWarps * kWarp, 0,
           cuda_stream(stream), p);
}

/// 16 bytes a thread where both matrices allow it.
template <class Real>
void keep(Stream stream, View<const Real, 2> from, View<Real, 2> to) {
    const bool packs = aligned(from) && aligned(to);
    const Index n = packs ? 16 / static_cast<Index>(sizeof(Real)) : 1, columns = from.extent(1) / n;
    elements("attention_decode: keep", cuda_stream(stream), from.extent(0) * columns,
             [=] __device__(Index i) {
                 const Real* source = from.row(i / columns) + i % columns * n;
                 Real* target = to.row(i / columns) + i % columns * n;
                 if (packs) {
                     *reinterpret_cast<uint4*>(target) = *reinterpret_cast<const uint4*>(source);
                 } else {
                     *target = *source;
                 }
             });
}

template <class Real>
constexpr AttentionDecodeKernels<Real> kernels{forward<Real>, keep<Real>};

}  // namespace
}  // namespace moegrad::cuda::attention_decode

MOEGRAD_CUDA_SEATS(attention_decode)
