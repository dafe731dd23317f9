#pragma once
// CUDA kernel of ops/top_k.hpp. Place k goes to the largest order (support/score_order.cuh) below that of place k - 1. The
// row is read K times, from the cache.
// A NaN, which the CPU refuses, sets status()->not_finite and comes last.

#include <moegrad/cuda/support/score_order.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/top_k.hpp>

namespace moegrad::cuda::top_k {
namespace {

inline void forward(Stream stream, View<const float, 2> scores, View<std::int32_t, 2> choice, Index groups) {
    const Index E = scores.extent(1) / groups, K = choice.extent(1) / groups;
    int* not_finite = &status()->not_finite;
    teams("top_k", cuda_stream(stream), scores.extent(0), E, [=] __device__(Index t, Team team) {
        for (Index g = 0; g < groups; ++g) {
            const float* row = scores.row(t) + g * E;
            unsigned long long last = ~0ull;
            for (Index k = 0; k < K; ++k) {
                last = next_best(team, row, E, last, not_finite);
                if (team.leads()) choice(t, g * K + k) = column_of(last);
            }
        }
    });
}

template <class Real>
constexpr TopKKernels<Real> kernels{forward};

}  // namespace
}  // namespace moegrad::cuda::top_k

MOEGRAD_CUDA_FLOAT_SEAT(top_k)
