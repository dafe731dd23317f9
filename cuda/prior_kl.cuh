#pragma once
// CUDA kernels of ops/prior_kl.hpp: a team of lanes per token.

#include <moegrad/core/math.hpp>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/prior_kl.hpp>

namespace moegrad::cuda::prior_kl {
namespace {

__device__ __forceinline__ float log_sum_exp(const Team& team, Index columns, const float* z) {
    const float shift = row_max(team, columns, z);
    return shift + moegrad::log(row_sum(team, columns, [=](Index e) { return moegrad::exp(z[e] - shift); }));
}

/// exp(log_p), held in the bounds; its logarithm.
__device__ __forceinline__ float bounded(float log_p, float& log_bounded) {
    constexpr float low = static_cast<float>(kPriorBound), high = static_cast<float>(1 - kPriorBound);
    const float p = moegrad::exp(log_p);
    log_bounded = p < low ? moegrad::log(low) : p > high ? moegrad::log(high) : log_p;
    return p < low ? low : p > high ? high : p;
}

inline void forward(Stream stream, View<const float, 2> z, View<const float, 2> label,
                    View<const std::uint8_t, 1> valid, View<float, 1> value, View<float, 1> lse) {
    const Index E = z.extent(1);
    teams("prior_kl", cuda_stream(stream), z.extent(0), E, [=] __device__(Index t, Team team) {
        const Index columns = is_valid(valid, t) ? E : 0;  // rows of padding are not read
        const float mine = log_sum_exp(team, columns, z.row(t));
        const float other = log_sum_exp(team, columns, label.row(t));
        const float sum = row_sum(team, columns, [=](Index e) {
            float log_p, log_q;
            const float p = bounded(z(t, e) - mine, log_p);
            bounded(label(t, e) - other, log_q);
            return p * (log_p - log_q);
        });
        if (!team.leads()) return;
        lse(t) = is_valid(valid, t) ? mine : 0;
        value(t) = is_valid(valid, t) ? sum : 0;
    });
}

inline void backward(Stream stream, View<const float, 2> z, View<const float, 2> label,
                     View<const std::uint8_t, 1> valid, View<const float, 1> value, View<const float, 1> lse,
                     View<const float, 1> dvalue, View<float, 2> dz, Write write) {
    const Index E = z.extent(1);
    teams("prior_kl backward", cuda_stream(stream), z.extent(0), E, [=] __device__(Index t, Team team) {
        const bool in_loss = is_valid(valid, t);
        const float other = log_sum_exp(team, in_loss ? E : 0, label.row(t));
        for (Index e = team.lane; e < E; e += team.size) {
            float log_p = 0, log_q = 0, p = 0;
            if (in_loss) {
                p = bounded(z(t, e) - lse(t), log_p);
                bounded(label(t, e) - other, log_q);
            }
            put(dz(t, e), in_loss ? dvalue(t) * p * (log_p - log_q - value(t)) : 0, write);
        }
    });
}

template <class Real>
constexpr PriorKlKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::prior_kl

MOEGRAD_CUDA_FLOAT_SEAT(prior_kl)
