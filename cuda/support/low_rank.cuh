#pragma once
// A Linear with a low-rank term, on views.
//     low_rank_rows:   y[T,O]  = x[T,D] w[O,D]^T + u[T,R] B[O,R]^T
//     low_rank_back:   dx[T,D] = dy[T,O] w[O,D] + du[T,R] A[R,D]
// bf16 on Hopper, rows of whole 16 bytes: the second pair continues the contraction of the first (grouped_linear with one
// group), and the result is rounded once. Else two cuBLASLt products, the low-rank term first and the base product added
// to it: with u B^T = 0 the bits are those of the base product alone; in bf16 both are rounded, then their sum.

#include <moegrad/cuda/support/products.cuh>
#include <moegrad/ops/grouped_linear.hpp>

namespace moegrad::cuda {
namespace {

/// Only Hopper's kernels are as fast as cuBLASLt.
template <class Real, class... Views>
bool one_contraction(const Views&... views) {
    return sizeof(Real) == 2 && device_limits().hopper && (aligned(views) && ...);
}

template <class Real>
View<const Real, 3> one_expert(View<const Real, 2> w) {
    return {w.data, {1, w.extent(0), w.extent(1)}, w.pitch};
}

/// one_group of ops/dispatch.hpp; its list {0, rows} is written into bounds [2].
inline DispatchView one_group(Stream stream, Index rows, View<std::int32_t, 1> bounds) {
    dispatch_slot.get<float>(Device::cuda).one_group(stream, rows, bounds);
    DispatchView plan;
    plan.expert_begin = bounds;
    return plan;
}

template <class Real>
void low_rank_rows(const char* place, Stream stream, View<const Real, 2> x, View<const Real, 2> w,
                   View<const Real, 2> u, View<const Real, 2> B, View<std::int32_t, 1> bounds,
                   View<Real, 2> y) {
    if (y.extent(0) == 0) return;
    if (one_contraction<Real>(x, w, u, B, y)) {
        const auto& grouped = grouped_linear_slot.get<Real>(Device::cuda);
        grouped.multiply(stream, x, one_expert(w), {u, one_expert(B)}, one_group(stream, x.extent(0), bounds),
                         RowSource::rows, y, Write::overwrite);
        return;
    }
    multiply_rows(place, stream, u, B, y, Write::overwrite);
    multiply_rows(place, stream, x, w, y, Write::accumulate);
}

template <class Real>
void low_rank_back(const char* place, Stream stream, View<const Real, 2> dy, View<const Real, 2> w,
                   View<const Real, 2> du, View<const Real, 2> A, View<std::int32_t, 1> bounds,
                   View<Real, 2> dx, Write write) {
    if (dx.extent(0) == 0) return;
    if (one_contraction<Real>(dy, w, du, A, dx)) {
        const auto& grouped = grouped_linear_slot.get<Real>(Device::cuda);
        grouped.multiply_back(stream, dy, one_expert(w), {du, one_expert(A)},
                              one_group(stream, dy.extent(0), bounds), dx, write);
        return;
    }
    multiply_back(place, stream, du, A, dx, write);
    multiply_back(place, stream, dy, w, dx, Write::accumulate);
}

}  // namespace
}  // namespace moegrad::cuda
