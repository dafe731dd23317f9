#pragma once
// CUDA kernels of ops/segment_surprisal.hpp: a team a segment.

#include <moegrad/core/math.hpp>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/segment_surprisal.hpp>

namespace moegrad::cuda::segment_surprisal {
namespace {

__device__ __forceinline__ bool has_rows(View<const std::int32_t, 1> begin, View<const std::uint8_t, 1> valid,
                                         Index s) {
    for (Index t = begin(s); t < begin(s + 1); ++t) {
        if (valid(t) != 0) return true;
    }
    return false;
}

inline void forward(Stream stream, View<const float, 2> p, View<const std::int32_t, 1> begin,
                    View<const std::uint8_t, 1> valid, double c, View<float, 1> value) {
    const Index E = p.extent(1);
    const float factor = static_cast<float>(-c);
    teams("segment_surprisal", cuda_stream(stream), p.extent(0), E, [=] __device__(Index s, Team team) {
        const float sum = row_sum(team, E, [=](Index e) { return moegrad::log(p(s, e)); });
        if (team.leads()) value(s) = has_rows(begin, valid, s) ? factor * sum : 0.0f;
    });
}

inline void backward(Stream stream, View<const float, 2> p, View<const std::int32_t, 1> begin,
                     View<const std::uint8_t, 1> valid, double c, View<const float, 1> dvalue,
                     View<float, 2> dp, Write write) {
    const Index E = p.extent(1);
    const float factor = static_cast<float>(-c);
    teams("segment_surprisal backward", cuda_stream(stream), p.extent(0), E,
          [=] __device__(Index s, Team team) {
              const bool counts = has_rows(begin, valid, s);
              for (Index e = team.lane; e < E; e += team.size) {
                  put(dp(s, e), counts ? factor * dvalue(s) / p(s, e) : 0.0f, write);
              }
          });
}

template <class Real>
constexpr SegmentSurprisalKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::segment_surprisal

MOEGRAD_CUDA_FLOAT_SEAT(segment_surprisal)
