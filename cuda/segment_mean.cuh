#pragma once
// CUDA kernels of ops/segment_mean.hpp: one thread a column of a segment, over its rows in order.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/segment_mean.hpp>

namespace moegrad::cuda::segment_mean {
namespace {

__device__ __forceinline__ float share_of(View<const std::int32_t, 1> begin,
                                          View<const std::uint8_t, 1> valid, Index s) {
    Index count = 0;
    for (Index t = begin(s); t < begin(s + 1); ++t) count += valid(t) != 0;
    return count == 0 ? 0.0f : 1.0f / static_cast<float>(count);
}

inline void forward(Stream stream, View<const float, 2> x, View<const std::int32_t, 1> begin,
                    View<const std::uint8_t, 1> valid, View<float, 2> y) {
    const Index D = y.extent(1);
    elements("segment_mean", cuda_stream(stream), y.extent(0) * D, [=] __device__(Index i) {
        const Index s = i / D, d = i - s * D;
        float sum = 0;
        for (Index t = begin(s); t < begin(s + 1); ++t) {
            if (valid(t) != 0) sum += x(t, d);
        }
        y(s, d) = sum * share_of(begin, valid, s);
    });
}

inline void backward(Stream stream, View<const float, 2> dy, View<const std::int32_t, 1> begin,
                     View<const std::uint8_t, 1> valid, View<float, 2> dx, Write write) {
    const Index D = dy.extent(1);
    elements("segment_mean backward", cuda_stream(stream), dy.extent(0) * D, [=] __device__(Index i) {
        const Index s = i / D, d = i - s * D;
        const float each = dy(s, d) * share_of(begin, valid, s);
        for (Index t = begin(s); t < begin(s + 1); ++t) put(dx(t, d), valid(t) != 0 ? each : 0.0f, write);
    });
}

template <class Real>
constexpr SegmentMeanKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::segment_mean

MOEGRAD_CUDA_FLOAT_SEAT(segment_mean)
