#pragma once
// CUDA kernels of ops/scale_columns.hpp. dl in two stages, first over kScaleColumnsRows rows each, then over those sums,
// both in order. bf16: y and dx are rounded once (and once more with a sum into dx); factors and dl are float.

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

/// part[b, o]: the sum over kScaleColumnsRows rows, in order.
template <int N, class Real>
void sum_rows(cudaStream_t stream, View<const Real, 2> x, View<const Real, 2> dy, View<float, 2> part) {
    const Index T = x.extent(0);
    groups<N>(
        "scale_columns dl", stream, part.extent(0), x.extent(1), nullptr, [=] __device__(Index b, Index o) {
            const Index end = min(T, (b + 1) * kScaleColumnsRows);
            auto sum = Values<float, N>::all(0);
#pragma unroll 4
            for (Index t = b * kScaleColumnsRows; t < end; ++t) {
                const auto a = Values<Real, N>::load(dy.row(t) + o), c = Values<Real, N>::load(x.row(t) + o);
#pragma unroll
                for (int i = 0; i < N; ++i) sum[i] += a[i] * c[i];
            }
            sum.store(part.row(b) + o);
        });
}

template <class Real>
void backward_scale(Stream stream, View<const Real, 2> x, View<const Real, 2> dy, View<const float, 1> n,
                    View<float, 1> dl, Write write, View<float, 2> part) {
    all_aligned(x, dy) ? sum_rows<kPack<Real>>(cuda_stream(stream), x, dy, part)
                       : sum_rows<1>(cuda_stream(stream), x, dy, part);
    elements("scale_columns dl", cuda_stream(stream), x.extent(1), [=] __device__(Index o) {
        float sum = 0;
#pragma unroll 8
        for (Index b = 0; b < part.extent(0); ++b) sum += part(b, o);
        put(dl(o), quotient(sum, n.data, o), write);
    });
}

template <class Real>
constexpr ScaleColumnsKernels<Real> kernels{apply<Real>, backward_scale<Real>};

}  // namespace
}  // namespace moegrad::cuda::scale_columns

MOEGRAD_CUDA_SEATS(scale_columns)
