#pragma once
// CUDA kernel of ops/top_p.hpp. Places are found in order, as in top_k.cuh; every lane of a team adds the same scores and so
// cuts at the same place. A NaN, which the CPU refuses, sets status()->not_finite and comes last.

#include <moegrad/cuda/support/score_order.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/top_p.hpp>

namespace moegrad::cuda::top_p {
namespace {

inline void forward(Stream stream, View<const float, 2> scores, View<std::int32_t, 2> choice,
                    TopPOptions options) {
    const Index C = scores.extent(1), K = choice.extent(1);
    int* not_finite = &status()->not_finite;
    teams("top_p", cuda_stream(stream), scores.extent(0), C, [=] __device__(Index t, Team team) {
        const float* row = scores.row(t);
        unsigned long long last = ~0ull;
        double sum = 0, best = 0;
        bool open = true;
        for (Index k = 0; k < K; ++k) {  // to the end: other teams of the warp may go on
            last = next_best(team, row, C, last, not_finite);
            const double score = last != 0 ? static_cast<double>(row[column_of(last)]) : 0;
            if (k == 0) best = score;
            open = open && options.stays(k, sum, score, best);
            sum += score;
            if (team.leads()) choice(t, k) = open ? column_of(last) : kUnused;
        }
    });
}

template <class Real>
constexpr TopPKernels<Real> kernels{forward};

}  // namespace
}  // namespace moegrad::cuda::top_p

MOEGRAD_CUDA_FLOAT_SEAT(top_p)
