#pragma once
// CUDA kernels of ops/entropy.hpp. The logarithm is the CPU's formula, but multiplications and additions are contracted:
// it may differ in its last bit.

#include <moegrad/core/math.hpp>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/entropy.hpp>

namespace moegrad::cuda::entropy {
namespace {

inline void forward(Stream stream, View<const float, 2> p, View<float, 1> h, double eps) {
    const auto small = static_cast<float>(eps);
    const Index E = p.extent(1);
    teams("entropy", cuda_stream(stream), p.extent(0), E, [=] __device__(Index t, Team team) {
        const float* pt = p.row(t);
        const float sum =
            row_sum(team, E, [=](Index e) { return pt[e] == 0 ? 0 : pt[e] * moegrad::log(pt[e] + small); });
        if (team.leads()) h(t) = -sum;
    });
}

inline void backward(Stream stream, View<const float, 2> p, View<const float, 1> dh, View<float, 2> dp,
                     Write write, double eps) {
    const auto small = static_cast<float>(eps);
    const Index E = p.extent(1);
    teams("entropy backward", cuda_stream(stream), p.extent(0), E, [=] __device__(Index t, Team team) {
        for (Index e = team.lane; e < E; e += team.size) {
            const float value = p(t, e), inside = value + small;
            put(dp(t, e), inside == 0 ? 0 : -dh(t) * (moegrad::log(inside) + value / inside), write);
        }
    });
}

template <class Real>
constexpr EntropyKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::entropy

MOEGRAD_CUDA_FLOAT_SEAT(entropy)
