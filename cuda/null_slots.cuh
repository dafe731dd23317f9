#pragma once
// CUDA kernels of ops/null_slots.hpp.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/null_slots.hpp>

namespace moegrad::cuda::null_slots {
namespace {

inline void classify(Stream stream, View<const std::int32_t, 2> choice, View<const std::uint8_t, 1> valid,
                     Index true_experts, View<std::int32_t, 2> expert) {
    const Index K = choice.extent(1);
    teams("classify_slots", cuda_stream(stream), choice.extent(0), K, [=] __device__(Index t, Team team) {
        for (Index k = team.lane; k < K; k += team.size) {
            const std::int32_t c = choice(t, k);
            expert(t, k) = valid(t) == 0 || c < 0 ? kUnused : c < true_experts ? c : kNull;
        }
    });
}

inline void keep_true(Stream stream, View<const float, 2> w, View<const std::int32_t, 2> expert,
                      View<float, 2> y, Write write) {
    const Index K = w.extent(1);
    teams("keep_true", cuda_stream(stream), w.extent(0), K, [=] __device__(Index t, Team team) {
        for (Index k = team.lane; k < K; k += team.size) put(y(t, k), expert(t, k) >= 0 ? w(t, k) : 0, write);
    });
}

inline void null_weight(Stream stream, View<const float, 2> w, View<const std::int32_t, 2> expert,
                        View<float, 1> y) {
    const Index K = w.extent(1);
    teams("null_weight", cuda_stream(stream), w.extent(0), K, [=] __device__(Index t, Team team) {
        const float sum = row_sum(team, K, [=](Index k) { return expert(t, k) == kNull ? w(t, k) : 0; });
        if (team.leads()) y(t) = sum;
    });
}

inline void null_weight_backward(Stream stream, View<const float, 1> dy, View<const std::int32_t, 2> expert,
                                 View<float, 2> dw, Write write) {
    const Index K = expert.extent(1);
    teams("null_weight backward", cuda_stream(stream), expert.extent(0), K,
          [=] __device__(Index t, Team team) {
              for (Index k = team.lane; k < K; k += team.size)
                  put(dw(t, k), expert(t, k) == kNull ? dy(t) : 0, write);
          });
}

template <class Real>
constexpr NullSlotsKernels<Real> kernels{classify, keep_true, null_weight, null_weight_backward};

}  // namespace
}  // namespace moegrad::cuda::null_slots

MOEGRAD_CUDA_FLOAT_SEAT(null_slots)
