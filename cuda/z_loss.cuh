#pragma once
// CUDA kernels of ops/z_loss.hpp.

#include <moegrad/core/math.hpp>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/z_loss.hpp>

namespace moegrad::cuda::z_loss {
namespace {

inline void forward(Stream stream, View<const float, 2> z, View<const std::uint8_t, 1> valid,
                    View<float, 1> value, View<float, 1> lse) {
    const Index E = z.extent(1);
    teams("z_loss", cuda_stream(stream), z.extent(0), E, [=] __device__(Index t, Team team) {
        const float* row = z.row(t);
        const Index columns = is_valid(valid, t) ? E : 0;  // rows of padding are not read
        const float shift = row_max(team, columns, row);
        const float sum = row_sum(team, columns, [=](Index e) { return moegrad::exp(row[e] - shift); });
        if (!team.leads()) return;
        lse(t) = is_valid(valid, t) ? shift + moegrad::log(sum) : 0;
        value(t) = lse(t) * lse(t);
    });
}

inline void backward(Stream stream, View<const float, 2> z, View<const std::uint8_t, 1> valid,
                     View<const float, 1> lse, View<const float, 1> dvalue, View<float, 2> dz, Write write) {
    const Index E = z.extent(1);
    teams("z_loss backward", cuda_stream(stream), z.extent(0), E, [=] __device__(Index t, Team team) {
        const bool in_loss = is_valid(valid, t);
        const float factor = in_loss ? 2 * dvalue(t) * lse(t) : 0;
        for (Index e = team.lane; e < E; e += team.size) {
            put(dz(t, e), in_loss ? factor * moegrad::exp(z(t, e) - lse(t)) : 0, write);
        }
    });
}

template <class Real>
constexpr ZLossKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::z_loss

MOEGRAD_CUDA_FLOAT_SEAT(z_loss)
