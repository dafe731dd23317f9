#pragma once
// CUDA kernels of ops/scale_columns.hpp. dl in two stages, first over kScaleColumnsRows rows each in order, where dx is made too,
// then over those sums (add_parts). bf16: y and dx are rounded once (and once more with a sum into dx); factors and dl are float.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/scale_columns.hpp>

namespace moegrad::cuda::scale_columns {
namespace {

/// What column o is multiplied by: l / n, 0 where n is; n null: l.
template <int N>
__device__ __forceinline__ Values<float, N> factors(const float* l, const float* n, Index o) {
    auto factor = Values<float, N>::load(l + o);
    if (n == nullptr) return factor;
    const auto divisor = Values<float, N>::load(n + o);
#pragma unroll
    for (int i = 0; i < N; ++i) factor[i] = divisor[i] == 0 ? 0.0f : factor[i] / divisor[i];
    return factor;
}

/// Rows that a thread reads before it writes the first: behind a write the compiler starts no read.
inline constexpr int kAtOnce = 4;

template <class... Views>
bool packs(const View<const float, 1>& l, const View<const float, 1>& n, const Views&... views) {
    const auto first = [](const float* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; };
    return first(l.data) && first(n.data) && all_aligned(views...);
}

template <int N, class Real>
void apply_groups(cudaStream_t stream, View<const Real, 2> x, View<const float, 1> l, View<const float, 1> n,
                  View<Real, 2> y, Write write) {
    const Index T = y.extent(0);
    groups<N>("scale_columns", stream, (T + kAtOnce - 1) / kAtOnce, y.extent(1), nullptr,
              [=] __device__(Index b, Index o) {
                  const auto factor = factors<N>(l.data, n.data, o);
                  Values<Real, N> value[kAtOnce];
#pragma unroll
                  for (int k = 0; k < kAtOnce; ++k)
                      value[k] = Values<Real, N>::load(x.row(min(b * kAtOnce + k, T - 1)) + o);
#pragma unroll
                  for (int k = 0; k < kAtOnce; ++k) {
#pragma unroll
                      for (int i = 0; i < N; ++i) value[k][i] *= factor[i];
                      if (b * kAtOnce + k < T) value[k].put(y.row(b * kAtOnce + k) + o, write);
                  }
              });
}

template <class Real>
void apply(Stream stream, View<const Real, 2> x, View<const float, 1> l, View<const float, 1> n,
           View<Real, 2> y, Write write) {
    packs(l, n, x, y) ? apply_groups<kPack<Real>>(cuda_stream(stream), x, l, n, y, write)
                      : apply_groups<1>(cuda_stream(stream), x, l, n, y, write);
}

/// part[b, o]: the sum over kScaleColumnsRows rows, in order; dx of these rows, where there is one.
template <int N, class Real>
void backward_rows(cudaStream_t stream, View<const Real, 2> x, View<const float, 1> l, View<const float, 1> n,
                   View<const Real, 2> dy, View<Real, 2> dx, Write write, View<float, 2> part) {
    const Index T = x.extent(0);
    groups<N>("scale_columns backward", stream, part.extent(0), x.extent(1), nullptr,
              [=] __device__(Index b, Index o) {
                  const Index end = min(T, (b + 1) * kScaleColumnsRows);
                  const auto factor = factors<N>(l.data, n.data, o);
                  auto sum = Values<float, N>::all(0);
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

/// dl of four columns by a warp: a lane adds every eighth part, then eight lanes add up, by distance 16, 8, 4.
inline void add_parts(cudaStream_t stream, View<const float, 2> part, View<const float, 1> n,
                      View<float, 1> dl, Write write) {
    constexpr int kColumns = 4;
    const Index O = dl.extent(0), P = part.extent(0);
    warps("scale_columns dl", stream, (O + kColumns - 1) / kColumns, [=] __device__(Index i, int lane) {
        const Index o = i * kColumns + lane % kColumns, from = min(o, O - 1);
        float sum = 0;
#pragma unroll 8
        for (Index b = lane / kColumns; b < P; b += kWarp / kColumns) sum += part(b, from);
#pragma unroll
        for (int distance = kWarp / 2; distance >= kColumns; distance /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, distance);
        if (lane >= kColumns || o >= O) return;
        const float divisor = n.data == nullptr ? 1.0f : n(o);
        put(dl(o), divisor == 0 ? 0.0f : sum / divisor, write);
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> x, View<const float, 1> l, View<const float, 1> n,
              View<const Real, 2> dy, View<float, 1> dl, Write write, View<Real, 2> dx, Write dx_write,
              View<float, 2> part) {
    packs(l, n, x, dy) && (dx.data == nullptr || all_aligned(dx))
        ? backward_rows<kPack<Real>>(cuda_stream(stream), x, l, n, dy, dx, dx_write, part)
        : backward_rows<1>(cuda_stream(stream), x, l, n, dy, dx, dx_write, part);
    add_parts(cuda_stream(stream), part, n, dl, write);
}

template <class Real>
constexpr ScaleColumnsKernels<Real> kernels{apply<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cuda::scale_columns

MOEGRAD_CUDA_SEATS(scale_columns)
