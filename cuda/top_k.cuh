#pragma once
// CUDA kernel of ops/top_k.hpp. Place k goes to the largest order (support/score_order.cuh) that no place has yet. A lane
// keeps up to four orders of its team's row; a longer row is read K times, from the cache.
// A NaN, which the CPU refuses, sets status()->not_finite and comes last.

#include <moegrad/cuda/support/score_order.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/top_k.hpp>

namespace moegrad::cuda::top_k {
namespace {

inline constexpr int kKept = 4;

/// choice[k], k < K, of a row of up to kKept columns a lane.
__device__ __forceinline__ void choose_kept(const Team& team, const float* row, Index E, Index K,
                                            std::int32_t* choice, int* not_finite) {
    unsigned long long order[kKept];
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
        const Index e = team.lane + i * team.size;
        const float score = e < E ? row[e] : 0;
        if (score != score) *not_finite = 1;
        order[i] = e < E ? order_of(score, e) : 0;
    }
    for (Index k = 0; k < K; ++k) {
        unsigned long long best = 0;
#pragma unroll
        for (int i = 0; i < kKept; ++i) best = max(best, order[i]);
        best = team_max(team, best);
#pragma unroll
        for (int i = 0; i < kKept; ++i)
            if (order[i] == best) order[i] = 0;
        if (team.leads()) choice[k] = column_of(best);
    }
}

__device__ __forceinline__ void choose(const Team& team, const float* row, Index E, Index K,
                                       std::int32_t* choice, int* not_finite) {
    unsigned long long last = ~0ull;
    for (Index k = 0; k < K; ++k) {
        last = next_best(team, row, E, last, not_finite);
        if (team.leads()) choice[k] = column_of(last);
    }
}

inline void forward(Stream stream, View<const float, 2> scores, View<std::int32_t, 2> choice, Index groups) {
    const Index E = scores.extent(1) / groups, K = choice.extent(1) / groups;
    const bool kept = E <= kKept * Index{team_size(E)};
    int* not_finite = &status()->not_finite;
    teams("top_k", cuda_stream(stream), scores.extent(0), E, [=] __device__(Index t, Team team) {
        for (Index g = 0; g < groups; ++g) {
            const float* row = scores.row(t) + g * E;
            std::int32_t* to = choice.row(t) + g * K;
            kept ? choose_kept(team, row, E, K, to, not_finite) : choose(team, row, E, K, to, not_finite);
        }
    });
}

template <class Real>
constexpr TopKKernels<Real> kernels{forward};

}  // namespace
}  // namespace moegrad::cuda::top_k

MOEGRAD_CUDA_FLOAT_SEAT(top_k)
