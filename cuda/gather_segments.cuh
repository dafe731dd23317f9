#pragma once
// CUDA kernel of ops/gather_segments.hpp: a thread a row, then a thread a segment.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/gather_segments.hpp>

namespace moegrad::cuda::gather_segments {
namespace {

inline void gather(Stream stream, SegmentRows from, View<const std::int32_t, 1> index, SegmentRows to,
                   View<std::int32_t, 1> row) {
    int* bad_index = &status()->bad_index;
    elements("gather_segments", cuda_stream(stream), index.extent(0), [=] __device__(Index i) {
        const bool beyond = index(i) >= from.position.extent(0);
        if (beyond) *bad_index = 1;
        to.take(i, from, beyond ? -1 : index(i));
        row(i) = beyond || index(i) < 0 ? -1 : static_cast<std::int32_t>(i);
    });
    elements("gather_segments", cuda_stream(stream), to.begin.extent(0),
             [=] __device__(Index s) { to.take_begin(s, from, index); });
}

template <class Real>
constexpr GatherSegmentsKernels<Real> kernels{gather};

}  // namespace
}  // namespace moegrad::cuda::gather_segments

MOEGRAD_CUDA_FLOAT_SEAT(gather_segments)
