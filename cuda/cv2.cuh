#pragma once
// CUDA kernels of ops/cv2.hpp. A team of lanes adds the columns of a chunk of rows; another one adds the chunks of a group
// in order, and has its loss. Sums in double.

#include <moegrad/cuda/support/balance_groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/cv2.hpp>

namespace moegrad::cuda::cv2 {
namespace {

inline void sum_chunks(cudaStream_t on, View<const float, 2> v, View<const std::uint8_t, 1> valid,
                       View<double, 2> room, Groups groups) {
    const Index E = v.extent(1);
    teams("cv2 sums", on, room.extent(0), E, [=] __device__(Index chunk, Team team) {
        const Index s = groups.of(chunk);
        const Index begin = groups.begin(s) + (chunk - groups.first(s)) * kBalanceChunk;
        const Index end = min(begin + kBalanceChunk, groups.end(s));
        for (Index e = team.lane; e < E; e += team.size) {
            double sum = 0;
            for (Index t = begin; t < end; ++t) {
                if (valid(t) != 0) sum += static_cast<double>(v(t, e));
            }
            room(chunk, e) = sum;
        }
    });
}

inline void forward(Stream stream, View<const float, 2> v, View<const std::int32_t, 1> begin,
                    View<const std::uint8_t, 1> valid, View<float, 1> loss, View<float, 2> slope,
                    View<double, 2> room, BalanceOptions::Scope scope) {
    const Index E = v.extent(1), count = loss.extent(0);
    if (count == 0) return;
    const Groups groups{begin, count, v.extent(0), scope == BalanceOptions::Scope::sequence};
    sum_chunks(cuda_stream(stream), v, valid, room, groups);
    teams("cv2", cuda_stream(stream), count, E, [=] __device__(Index s, Team team) {
        const Index first = groups.first(s), behind = groups.behind(s);
        const double columns = static_cast<double>(E), others = columns - 1;
        double mean = 0, variance = 0;
        for (Index e = team.lane; e < E; e += team.size) {
            double sum = 0;
            for (Index chunk = first; chunk < behind; ++chunk) sum += room(chunk, e);
            if (behind > first) room(first, e) = sum;  // this lane alone reads and writes column e
            mean += sum;
        }
        mean = team_sum(team, mean) / columns;
        const auto off = [&](Index e) { return (behind > first ? room(first, e) : 0) - mean; };
        for (Index e = team.lane; e < E; e += team.size) variance += off(e) * off(e);
        variance = E > 1 ? team_sum(team, variance) / others : 0;
        const double floor = mean * mean + kCv2Floor;
        for (Index e = team.lane; e < E; e += team.size) {
            const double own = E > 1 ? 2 * off(e) / others / floor : 0;
            slope(s, e) = static_cast<float>(own - variance * (2 * mean / columns) / floor / floor);
        }
        if (team.leads()) loss(s) = static_cast<float>(variance / floor);
    });
}

inline void backward(Stream stream, View<const float, 2> slope, View<const std::int32_t, 1> segment,
                     View<const std::uint8_t, 1> valid, View<const float, 1> dloss, View<float, 2> dv,
                     Write write, BalanceOptions::Scope scope) {
    const Index E = dv.extent(1);
    const bool sequence = scope == BalanceOptions::Scope::sequence;
    teams("cv2 backward", cuda_stream(stream), dv.extent(0), E, [=] __device__(Index t, Team team) {
        const Index s = sequence ? segment(t) : 0;
        for (Index e = team.lane; e < E; e += team.size)
            put(dv(t, e), valid(t) != 0 ? dloss(s) * slope(s, e) : 0, write);
    });
}

template <class Real>
constexpr Cv2Kernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::cv2

MOEGRAD_CUDA_FLOAT_SEAT(cv2)
