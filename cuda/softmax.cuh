#pragma once
// CUDA kernels of ops/softmax.hpp. A team of lanes takes the groups of a row one after another.

#include <moegrad/core/math.hpp>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/softmax.hpp>

namespace moegrad::cuda::softmax {
namespace {

inline void forward(Stream stream, View<const float, 2> x, View<float, 2> p, Index groups) {
    const Index E = x.extent(1) / groups;
    teams("softmax", cuda_stream(stream), x.extent(0), E, [=] __device__(Index t, Team team) {
        for (Index g = 0; g < groups; ++g) {
            const float* in = x.row(t) + g * E;
            float* out = p.row(t) + g * E;
            const float largest = row_max(team, E, in);
            // Nothing but -inf (or NaN, which the maximum passes over): any finite shift will do.
            const float shift = largest == -INFINITY ? 0 : largest;
            const float sum = row_sum(team, E, [=](Index e) { return moegrad::exp(in[e] - shift); });
            const float divisor = sum == 0 ? 1 : sum;
            for (Index e = team.lane; e < E; e += team.size) out[e] = moegrad::exp(in[e] - shift) / divisor;
        }
    });
}

inline void backward(Stream stream, View<const float, 2> p, View<const float, 2> dy, View<float, 2> dx,
                     Index groups, Write write) {
    const Index E = p.extent(1) / groups;
    teams("softmax backward", cuda_stream(stream), p.extent(0), E, [=] __device__(Index t, Team team) {
        for (Index g = 0; g < groups; ++g) {
            const float* pt = p.row(t) + g * E;
            const float* dyt = dy.row(t) + g * E;
            const float dot = row_sum(team, E, [=](Index e) { return dyt[e] * pt[e]; });
            float* out = dx.row(t) + g * E;
            for (Index e = team.lane; e < E; e += team.size) put(out[e], pt[e] * (dyt[e] - dot), write);
        }
    });
}

template <class Real>
constexpr SoftmaxKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::softmax

MOEGRAD_CUDA_FLOAT_SEAT(softmax)
