#pragma once
// CUDA kernels of ops/tsallis_entropy.hpp, in double as on the CPU.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/tsallis_entropy.hpp>

namespace moegrad::cuda::tsallis_entropy {
namespace {

inline void forward(Stream stream, View<const float, 2> p, View<const std::uint8_t, 1> valid,
                    View<float, 1> h, TsallisOptions options) {
    const Index E = p.extent(1);
    const TsallisTerms<double> terms(options, E);
    teams("tsallis_entropy", cuda_stream(stream), p.extent(0), E, [=] __device__(Index t, Team team) {
        const Index columns = is_valid(valid, t) ? E : 0;
        double sum = 0;
        for (Index e = team.lane; e < columns; e += team.size) {
            sum += terms.term(static_cast<double>(p(t, e)));
        }
        sum = team_sum(team, sum);
        if (team.leads()) h(t) = columns == 0 ? 0 : static_cast<float>(terms.value(sum));
    });
}

inline void backward(Stream stream, View<const float, 2> p, View<const std::uint8_t, 1> valid,
                     View<const float, 1> dh, View<float, 2> dp, Write write, TsallisOptions options) {
    const Index E = p.extent(1);
    const TsallisTerms<double> terms(options, E);
    const auto body = [=] __device__(Index t, Team team) {
        const bool in = is_valid(valid, t);
        for (Index e = team.lane; e < E; e += team.size) {
            const float slope = in ? static_cast<float>(terms.slope(static_cast<double>(p(t, e)))) : 0;
            put(dp(t, e), in ? dh(t) * slope : 0, write);
        }
    };
    teams("tsallis_entropy backward", cuda_stream(stream), dp.extent(0), E, body);
}

template <class Real>
constexpr TsallisEntropyKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::tsallis_entropy

MOEGRAD_CUDA_FLOAT_SEAT(tsallis_entropy)
