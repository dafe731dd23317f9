#pragma once
// CUDA kernels of ops/mix.hpp. y is one chain over j, as on the CPU; da a tree over the columns.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/mix.hpp>

namespace moegrad::cuda::mix {
namespace {

inline void forward(Stream stream, View<const float, 2> a, View<const float, 2> s, View<float, 2> y) {
    const Index J = a.extent(1), E = y.extent(1);
    teams("mix", cuda_stream(stream), a.extent(0), E, [=] __device__(Index t, Team team) {
        for (Index e = team.lane; e < E; e += team.size) {
            float sum = 0;
            for (Index j = 0; j < J; ++j) sum += a(t, j) * s(t, j * E + e);
            y(t, e) = sum;
        }
    });
}

inline void backward_weight(Stream stream, View<const float, 2> s, View<const float, 2> dy, View<float, 2> da,
                            Write write) {
    const Index J = da.extent(1), E = dy.extent(1);
    teams("mix backward", cuda_stream(stream), dy.extent(0), E, [=] __device__(Index t, Team team) {
        for (Index j = 0; j < J; ++j) {
            const float sum = row_sum(team, E, [=](Index e) { return dy(t, e) * s(t, j * E + e); });
            if (team.leads()) put(da(t, j), sum, write);
        }
    });
}

inline void backward_rows(Stream stream, View<const float, 2> a, View<const float, 2> dy, View<float, 2> ds,
                          Write write) {
    const Index J = a.extent(1), E = dy.extent(1);
    teams("mix backward", cuda_stream(stream), dy.extent(0), E, [=] __device__(Index t, Team team) {
        for (Index j = 0; j < J; ++j) {
            for (Index e = team.lane; e < E; e += team.size) put(ds(t, j * E + e), a(t, j) * dy(t, e), write);
        }
    });
}

template <class Real>
constexpr MixKernels<Real> kernels{forward, backward_weight, backward_rows};

}  // namespace
}  // namespace moegrad::cuda::mix

MOEGRAD_CUDA_FLOAT_SEAT(mix)
