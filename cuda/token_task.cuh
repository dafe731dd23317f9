#pragma once
// CUDA kernel of ops/token_task.hpp.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/token_task.hpp>

namespace moegrad::cuda::token_task {
namespace {

inline void read(Stream stream, TokenTask in, Index tasks, View<std::int32_t, 1> id) {
    int* bad_index = &status()->bad_index;
    elements("token_task", cuda_stream(stream), id.size(), [=] __device__(Index t) {
        const std::int32_t task = in.valid(t) != 0 ? in.of(t) : 0;
        const bool known = task >= 0 && task < tasks;
        if (!known) *bad_index = 1;
        id(t) = known ? task : 0;
    });
}

template <class Real>
constexpr TokenTaskKernels<Real> kernels{read};

}  // namespace
}  // namespace moegrad::cuda::token_task

MOEGRAD_CUDA_FLOAT_SEAT(token_task)
