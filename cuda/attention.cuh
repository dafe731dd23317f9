#pragma once
// CUDA kernels of ops/attention.hpp. On Hopper's tensor cores for bf16 with heads of 64 and 128 and aligned
// matrices (support/attention_fast.cuh), else in plain tiles (support/attention_plain.cuh): both headers say
// in which order they sum and what they round.

#include <moegrad/cuda/support/attention_fast.cuh>
#include <moegrad/cuda/support/attention_plain.cuh>
#include <moegrad/cuda/support/seats.cuh>

namespace moegrad::cuda::attention {
namespace {

inline unsigned tiles(Index rows, Index tile, Index heads) {
    return static_cast<unsigned>((rows + tile - 1) / tile * heads);
}

template <class Real>
void forward(Stream stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v,
             AttentionRows rows, View<Real, 2> y, View<Wide<Real>, 2> lse, AttentionOptions options) {
    if (q.extent(0) == 0) return;
    const cudaStream_t on = cuda_stream(stream);
    if constexpr (std::is_same_v<Real, bf16>) {
        if (fits_fast(options, q, k, v, y)) return forward_fast(on, q, k, v, rows, y, lse, options);
    }
    const Index head = options.head_dim, H = options.heads;
    Plain<Real> p;
    p.q = {q, head}, p.k = {k, head}, p.v = {v, head};
    p.rows = rows_of(rows, options);
    p.heads = static_cast<int>(H), p.group = static_cast<int>(H / options.kv_heads);
    p.scale = static_cast<float>(options.scale);
    with_shape(head, [&]<class Shape>(std::type_identity<Shape>) {
        launch("attention", forward_plain<Shape, Real>, tiles(q.extent(0), Shape::kTile, H), kTileThreads,
               Shape::kBytes, on, p, y, lse);
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v,
              AttentionRows rows, View<const Real, 2> y, View<const Wide<Real>, 2> lse,
              View<const Real, 2> dy, View<Wide<Real>, 3> room, AttentionGradient<Real> dq,
              AttentionGradient<Real> dk, AttentionGradient<Real> dv, AttentionOptions options) {
    if (q.extent(0) == 0) return;
    const cudaStream_t on = cuda_stream(stream);
    if constexpr (std::is_same_v<Real, bf16>) {
        if (fits_fast(options, q, k, v, y, dy, dq.view, dk.view, dv.view)) {
            return backward_fast(on, q, k, v, rows, y, lse, dy, room, dq, dk, dv, options);
        }
    }
    const Index head = options.head_dim, H = options.heads;
    Plain<Real> p;
    p.q = {q, head}, p.k = {k, head}, p.v = {v, head}, p.dy = {dy, head};
    p.rows = rows_of(rows, options);
    p.prepared = Prepared(room);
    p.heads = static_cast<int>(H), p.group = static_cast<int>(H / options.kv_heads);
    p.scale = static_cast<float>(options.scale);
    prepare(on, y, dy, lse, p.rows, p.q.head, p.prepared);
    with_shape(head, [&]<class Shape>(std::type_identity<Shape>) {
        const Index T = q.extent(0);
        if (dq.wanted) {
            launch("attention: dq", query_plain<Shape, Real>, tiles(T, Shape::kTile, H), kTileThreads,
                   Shape::kBytes, on, p, dq);
        }
        if (dk.wanted || dv.wanted) {
            launch("attention: dk, dv", key_plain<Shape, Real>, tiles(T, Shape::kTile, options.kv_heads),
                   kTileThreads, Shape::kBytes, on, p, dk, dv);
        }
    });
}

template <class Real>
constexpr AttentionKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cuda::attention

MOEGRAD_CUDA_SEATS(attention)
