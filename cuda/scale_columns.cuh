#pragma once
// CUDA kernels of ops/scale_columns.hpp. dl in two stages, first over kScaleColumnsRows rows each, where dx is made too, then over
// those sums, both in order. bf16: y and dx are rounded once (and once more with a sum into dx); factors and dl are float.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/scale_columns.hpp>

namespace moegrad::cuda::scale_columns {
namespace {

/// l / n; 0 where n is. n: nullptr where nothing divides.
__device__ __forceinline__ float quotient(float l, const float* n, Index o) {
    if (n == nullptr) return l;
    return n[o] == 0 ? 0.0f : l / n[o];
}

template <int N, class Real>
void apply_groups(cudaStream_t stream, View<const Real, 2> x, View<const float, 1> l, View<const float, 1> n,
                  View<Real, 2> y, Write write) {
    groups<N>("scale_columns", stream, y.extent(0), y.extent(1), nullptr, [=] __device__(Index t, Index o) {
        auto value = Values<Real, N>::load(x.row(t) + o);
#pragma unroll
        for (int i = 0; i < N; ++i) value[i] *= quotient(l(o + i), n.data, o + i);
        value.put(y.row(t) + o, write);
    });
}

template <class Real>
void apply(Stream stream, View<const Real, 2> x, View<const float, 1> l, View<const float, 1> n,
           View<Real, 2> y, Write write) {
    all_aligned(x, y) ? apply_groups<kPack<Real>>(cuda_stream(stream), x, l, n, y, write)
                      : apply_groups<1>(cuda_stream(stream), x, l, n, y, write);
}

/// part[b, o]: the sum over kScaleColumnsRows rows, in order; dx of these rows, where there is one. Some rows are read before the first
/// is written: behind a write to dx the compiler starts no read.
template <int N, class Real>
void backward_rows(cudaStream_t stream, View<const Real, 2> x, View<const float, 1> l, View<const float, 1> n,
                   View<const Real, 2> dy, View<Real, 2> dx, Write write, View<float, 2> part) {
    constexpr int kAtOnce = 4;
    const Index T = x.extent(0);
    groups<N>("scale_columns backward", stream, part.extent(0), x.extent(1), nullptr,
              [=] __device__(Index b, Index o) {
                  const Index end = min(T, (b + 1) * kScaleColumnsRows);
                  auto sum = Values<float, N>::all(0), factor = sum;
#pragma unroll
                  for (int i = 0; i < N; ++i) factor[i] = quotient(l(o + i), n.data, o + i);
                  for (Index t = b * kScaleColumnsRows; t < end; t += kAtOnce) {
                      Values<Real, N> a[kAtOnce], c[kAtOnce];
#pragma unroll
                      for (int k = 0; k < kAtOnce; ++k) {
                          if (t + k >= end) continue;
                          a[k] = Values<Real, N>::load(dy.row(t + k) + o);
                          c[k] = Values<Real, N>::load(x.row(t + k) + o);
                      }
#pragma unroll
                      for (int k = 0; k < kAtOnce; ++k) {
                          if (t + k >= end) continue;
#pragma unroll
                          for (int i = 0; i < N; ++i) sum[i] += a[k][i] * c[k][i], a[k][i] *= factor[i];
                          if (dx.data != nullptr) a[k].put(dx.row(t + k) + o, write);
                      }
                  }
                  sum.store(part.row(b) + o);
              });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> x, View<const float, 1> l, View<const float, 1> n,
              View<const Real, 2> dy, View<float, 1> dl, Write write, View<Real, 2> dx, Write dx_write,
              View<float, 2> part) {
    all_aligned(x, dy) && (dx.data == nullptr || all_aligned(dx))
        ? backward_rows<kPack<Real>>(cuda_stream(stream), x, l, n, dy, dx, dx_write, part)
        : backward_rows<1>(cuda_stream(stream), x, l, n, dy, dx, dx_write, part);
    elements("scale_columns dl", cuda_stream(stream), x.extent(1), [=] __device__(Index o) {
        float sum = 0;
#pragma unroll 8
        for (Index b = 0; b < part.extent(0); ++b) sum += part(b, o);
        put(dl(o), quotient(sum, n.data, o), write);
    });
}

template <class Real>
constexpr ScaleColumnsKernels<Real> kernels{apply<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cuda::scale_columns

MOEGRAD_CUDA_SEATS(scale_columns)
