#pragma once
// CUDA kernels of ops/renormalize.hpp. A team of lanes takes the groups of a row one after another; s is a tree of pairs of
// lanes, so that for K = 1, 2 the bits are the CPU's. Zeros in a tree are exact: a single entry keeps its 1 and its 0.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/renormalize.hpp>

namespace moegrad::cuda::renormalize {
namespace {

/// One group: K weights and their indices.
struct Group {
    const float* w;
    const std::int32_t* index;
    Index K;

    __device__ bool takes_part(Index k) const { return index[k] >= 0; }
    __device__ float sum(const Team& team) const {
        return row_sum(team, K, [this](Index k) { return takes_part(k) ? w[k] : 0; });
    }
};

inline void forward(Stream stream, View<const float, 2> w, View<const std::int32_t, 2> index,
                    View<float, 2> u, Index groups) {
    const Index K = w.extent(1) / groups;
    teams("renormalize", cuda_stream(stream), w.extent(0), K, [=] __device__(Index t, Team team) {
        for (Index g = 0; g < groups; ++g) {
            const Group group{w.row(t) + g * K, index.row(t) + g * K, K};
            const float sum = group.sum(team);
            float* out = u.row(t) + g * K;
            for (Index k = team.lane; k < K; k += team.size) {
                out[k] = group.takes_part(k) && sum != 0 ? group.w[k] / sum : 0;
            }
        }
    });
}

inline void backward(Stream stream, View<const float, 2> w, View<const std::int32_t, 2> index,
                     View<const float, 2> du, View<float, 2> dw, Index groups, Write write) {
    const Index K = w.extent(1) / groups;
    teams("renormalize backward", cuda_stream(stream), w.extent(0), K, [=] __device__(Index t, Team team) {
        for (Index g = 0; g < groups; ++g) {
            const Group group{w.row(t) + g * K, index.row(t) + g * K, K};
            const float sum = group.sum(team);
            const auto learns = [=](Index k) { return sum != 0 && group.takes_part(k); };
            const float* upstream = du.row(t) + g * K;
            const float mean =
                row_sum(team, K, [=](Index k) { return learns(k) ? group.w[k] / sum * upstream[k] : 0; });
            float* out = dw.row(t) + g * K;
            for (Index k = team.lane; k < K; k += team.size) {
                put(out[k], learns(k) ? (upstream[k] - mean) / sum : 0, write);
            }
        }
    });
}

template <class Real>
constexpr RenormalizeKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::renormalize

MOEGRAD_CUDA_FLOAT_SEAT(renormalize)
