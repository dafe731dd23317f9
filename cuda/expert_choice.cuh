#pragma once
// CUDA kernel of ops/expert_choice.hpp: a warp takes a column of a group. A NaN, which the CPU refuses, sets
// status()->not_finite and comes last.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/select.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/expert_choice.hpp>

namespace moegrad::cuda::expert_choice {
namespace {

inline void choose(Stream stream, View<const float, 2> score, ChoiceGroups groups, double share,
                   View<std::int32_t, 2> choice) {
    const Index E = score.extent(1);
    int* not_finite = &status()->not_finite;
    warps("expert_choice", cuda_stream(stream), groups.count * E, [=] __device__(Index item, int lane) {
        const Index g = item / E, e = item - g * E, first = groups.first(g), n = groups.end(g) - first;
        int valid = 0;
        for (Index i = lane; i < n; i += kWarp) {
            if (groups.valid(first + i) == 0) continue;
            ++valid;
            if (score(first + i, e) != score(first + i, e)) *not_finite = 1;
        }
        const auto order = [=](Index i) {
            return groups.valid(first + i) != 0 ? score_order(score(first + i, e)) : 0u;
        };
        const Cut cut = select_best(lane, n, choice_capacity(lanes_sum(valid), share), order);
        for (Index i = lane; i < n; i += kWarp) {
            const std::uint32_t mine = order(i);
            choice(first + i, e) = mine != 0 && cut.takes(mine, i) ? static_cast<std::int32_t>(e) : kUnused;
        }
    });
}

template <class Real>
constexpr ExpertChoiceKernels<Real> kernels{choose};

}  // namespace
}  // namespace moegrad::cuda::expert_choice

MOEGRAD_CUDA_FLOAT_SEAT(expert_choice)
