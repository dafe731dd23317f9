#pragma once
// CUDA kernel of ops/soft_balance_loss.hpp. A team of lanes adds the columns of a chunk of rows; another one adds the chunks
// of a group in order, and has its loss. Sums in double.

#include <moegrad/cuda/support/balance_groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/soft_balance_loss.hpp>

namespace moegrad::cuda::soft_balance_loss {
namespace {

/// room[chunk]: C sums of p, C sums of w, the number of valid tokens.
inline void sum_chunks(cudaStream_t on, View<const float, 2> p, View<const float, 2> w,
                       View<const std::uint8_t, 1> valid, View<double, 2> room, Groups groups) {
    const Index C = p.extent(1);
    teams("soft_balance_loss sums", on, room.extent(0), C, [=] __device__(Index chunk, Team team) {
        const Index s = groups.of(chunk);
        const Index begin = groups.begin(s) + (chunk - groups.first(s)) * kBalanceChunk;
        const Index end = min(begin + kBalanceChunk, groups.end(s));
        for (Index c = team.lane; c < C; c += team.size) {
            double mass = 0, load = 0, tokens = 0;
            for (Index t = begin; t < end; ++t) {
                if (valid(t) == 0) continue;
                mass += static_cast<double>(p(t, c));
                load += static_cast<double>(w(t, c));
                tokens += 1;
            }
            room(chunk, c) = mass;
            room(chunk, C + c) = load;
            if (c == 0) room(chunk, 2 * C) = tokens;
        }
    });
}

inline void forward(Stream stream, View<const float, 2> p, View<const float, 2> w,
                    View<const std::int32_t, 1> begin, View<const std::uint8_t, 1> valid, View<float, 1> loss,
                    View<float, 2> by_p, View<float, 2> by_w, View<double, 2> room,
                    BalanceOptions::Scope scope) {
    const Index C = p.extent(1), count = loss.extent(0);
    if (count == 0) return;
    const Groups groups{begin, count, p.extent(0), scope == BalanceOptions::Scope::sequence};
    sum_chunks(cuda_stream(stream), p, w, valid, room, groups);
    teams("soft_balance_loss", cuda_stream(stream), count, C, [=] __device__(Index s, Team team) {
        const Index first = groups.first(s), behind = groups.behind(s);
        double tokens = 0, total = 0;
        for (Index chunk = first; chunk < behind; ++chunk) tokens += room(chunk, 2 * C);
        const double n = tokens > 0 ? tokens : 1, factor = static_cast<double>(C) / n / n;
        for (Index c = team.lane; c < C; c += team.size) {
            double mass = 0, load = 0;
            for (Index chunk = first; chunk < behind; ++chunk) {
                mass += room(chunk, c);
                load += room(chunk, C + c);
            }
            total += load * mass;
            by_p(s, c) = static_cast<float>(load * factor);
            by_w(s, c) = static_cast<float>(mass * factor);
        }
        total = team_sum(team, total);
        if (team.leads()) loss(s) = static_cast<float>(total * factor);
    });
}

template <class Real>
constexpr SoftBalanceLossKernels<Real> kernels{forward};

}  // namespace
}  // namespace moegrad::cuda::soft_balance_loss

MOEGRAD_CUDA_FLOAT_SEAT(soft_balance_loss)
