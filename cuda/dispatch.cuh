#pragma once
// CUDA kernel of ops/dispatch.hpp: the stable sort of support/sort_by_expert.cuh. What the CPU refuses by an error sets a
// word of the step's status here: a slot whose expert does not exist, or a row beyond the bound, has no row.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/sort_by_expert.cuh>
#include <moegrad/ops/dispatch.hpp>

namespace moegrad::cuda::dispatch {
namespace {

inline void sort(Stream stream, View<const std::int32_t, 2> expert, View<std::int32_t, 1> expert_begin,
                 View<std::int32_t, 1> row_token, View<std::int32_t, 1> row_slot,
                 View<std::int32_t, 2> slot_row, View<std::int32_t, 1> room) {
    sort_by_expert("dispatch", cuda_stream(stream),
                   {expert, expert_begin, row_token, row_slot, slot_row, room.data});
}

inline void one_group(Stream stream, Index rows, View<std::int32_t, 1> expert_begin) {
    elements("dispatch, one group", cuda_stream(stream), 2,
             [=] __device__(Index i) { expert_begin(i) = i == 0 ? 0 : static_cast<std::int32_t>(rows); });
}

template <class Real>
constexpr DispatchKernels<Real> kernels{sort, one_group};

}  // namespace
}  // namespace moegrad::cuda::dispatch

MOEGRAD_CUDA_FLOAT_SEAT(dispatch)
