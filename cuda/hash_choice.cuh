#pragma once
// CUDA kernel of ops/hash_choice.hpp: a thread looks its token up. The same numbers as on the CPU.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/hash_choice.hpp>

namespace moegrad::cuda::hash_choice {
namespace {

inline void look_up(Stream stream, View<const std::int32_t, 1> token, PhiloxKey key, Index E,
                    View<std::int32_t, 2> choice) {
    elements("hash_choice", cuda_stream(stream), choice.extent(0),
             [=] __device__(Index t) { draw_columns(key, token(t), 0, E, choice.row(t), choice.extent(1)); });
}

template <class Real>
constexpr HashChoiceKernels<Real> kernels{look_up};

}  // namespace
}  // namespace moegrad::cuda::hash_choice

MOEGRAD_CUDA_FLOAT_SEAT(hash_choice)
