#pragma once
// CUDA kernel of ops/top_k.hpp. A score and its column make one number, unlike any other of the row and larger the better
// it is placed; place k goes to the largest number below that of place k - 1. The row is read K times, from the cache.
// A NaN, which the CPU refuses, sets status()->not_finite and comes last.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/top_k.hpp>

namespace moegrad::cuda::top_k {
namespace {

/// Never 0. Upper half: the score's order, -0 as 0, NaN below -inf; lower half: the lower column is the larger.
__device__ __forceinline__ unsigned long long order_of(float score, Index column) {
    const std::uint32_t bits = score == 0 ? 0 : __builtin_bit_cast(std::uint32_t, score);
    const std::uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    const auto high = static_cast<unsigned long long>(score == score ? ordered : 0);
    return high << 32 | (0xffffffffu - static_cast<std::uint32_t>(column));
}
__device__ __forceinline__ std::int32_t column_of(unsigned long long order) {
    return static_cast<std::int32_t>(0xffffffffu - static_cast<std::uint32_t>(order));
}

inline void forward(Stream stream, View<const float, 2> scores, View<std::int32_t, 2> choice, Index groups) {
    const Index E = scores.extent(1) / groups, K = choice.extent(1) / groups;
    int* not_finite = &status()->not_finite;
    teams("top_k", cuda_stream(stream), scores.extent(0), E, [=] __device__(Index t, Team team) {
        for (Index g = 0; g < groups; ++g) {
            const float* row = scores.row(t) + g * E;
            unsigned long long last = ~0ull;
            for (Index k = 0; k < K; ++k) {
                unsigned long long best = 0;
                for (Index e = team.lane; e < E; e += team.size) {
                    if (row[e] != row[e]) *not_finite = 1;
                    const unsigned long long order = order_of(row[e], e);
                    if (order < last && order > best) best = order;
                }
                last = team_max(team, best);
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
