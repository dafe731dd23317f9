#pragma once
// CUDA kernel of ops/route_stats.hpp. Blocks add up their rows in shared memory, then add that to the result. Everything
// that lanes and blocks add is a whole number, so the order of the atomic additions cannot matter.
// p is rounded to units of 2^-32 as on the CPU; the entropy of a token is summed in double by lanes in a fixed order, with
// a contracted logarithm: it may be one unit from the CPU's.
// What the CPU refuses counts nothing and sets a word of *status(): a probability that is negative or no number
// not_finite, a column beyond C bad_index.

#include <algorithm>

#include <moegrad/core/math.hpp>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/route_stats.hpp>

namespace moegrad::cuda::route_stats {
namespace {

struct Batch {
    View<const std::int32_t, 2> expert, choice;  // [T, K]
    View<const float, 2> p;                      // [T, C]
    View<const std::uint8_t, 1> valid;           // [T]
    DeviceStatus* status;
};

__device__ __forceinline__ void add(std::int64_t& place, std::int64_t n) {
    if (n == 0) return;
    atomicAdd(reinterpret_cast<unsigned long long*>(&place), static_cast<unsigned long long>(n));
}

/// x >= 0 as a whole number of 2^-32. 2^20 is far above any probability or entropy.
__device__ __forceinline__ std::int64_t to_units(double x, DeviceStatus* status) {
    if (x >= 0 && x <= 0x1p20) return static_cast<std::int64_t>(x * 0x1p32 + 0.5);
    status->not_finite = 1;
    return 0;
}

inline constexpr int kOwn = 4;  // columns of a lane beside each other

/// What a row has one of: tokens, entropy, its experts. A team whose row does not count has no columns.
__device__ __forceinline__ void count_row(const Batch& b, Index t, const Team& team,
                                          const RoutingCounts& counts) {
    double entropy = 0;
    for (Index first = team.lane; first < b.p.extent(1); first += kOwn * team.size) {
        double value[kOwn];
#pragma unroll
        for (int i = 0; i < kOwn; ++i) {
            const Index c = first + i * team.size;
            value[i] = c < b.p.extent(1) ? static_cast<double>(b.p(t, c)) : 0;
        }
#pragma unroll
        for (int i = 0; i < kOwn; ++i)  // chains of their own, beside each other
            value[i] *= moegrad::log(value[i] > 0 ? value[i] : 1.0);
#pragma unroll
        for (int i = 0; i < kOwn; ++i) entropy -= value[i];
    }
    int used = 0, nulls = 0, dropped = 0;
    for (Index k = team.lane; k < b.expert.extent(1); k += team.size) {
        used += b.expert(t, k) >= 0;
        nulls += b.expert(t, k) == kNull;
        dropped += b.expert(t, k) == kDropped;
    }
    for (Index k = team.lane; k < b.choice.extent(1); k += team.size) {
        const Index column = b.choice(t, k);
        if (column >= b.p.extent(1)) b.status->bad_index = 1;
        if (column >= 0 && column < b.p.extent(1)) add(counts.slots(column), 1);
    }
    entropy = team_sum(team, entropy);
    used = team_sum(team, used);
    nulls = team_sum(team, nulls);
    dropped = team_sum(team, dropped);
    if (!team.leads()) return;
    add(counts.tokens(), 1);
    add(counts.entropy(),
        to_units(entropy < 0 ? 0 : entropy, b.status));  // a one-hot row may round to just below 0
    add(counts.experts_per_token(used), 1);
    add(counts.all_null(), used == 0 && dropped == 0 && nulls > 0);
    add(counts.dropped(), dropped);
}

/// The masses of columns c, c + size, .. over the rows of a team: those from `begin` on, `step` apart.
__device__ __forceinline__ void count_mass(const Batch& b, Index c, int size, Index begin, Index step,
                                           const RoutingCounts& counts) {
    std::int64_t mass[kOwn] = {};
    for (Index t = begin; t < b.p.extent(0); t += step) {
        float p[kOwn];
        const bool valid = b.valid(t) != 0;
#pragma unroll
        for (int i = 0; i < kOwn; ++i) p[i] = c + i * size < b.p.extent(1) ? b.p(t, c + i * size) : 0;
#pragma unroll
        for (int i = 0; i < kOwn; ++i)
            if (valid) mass[i] += to_units(static_cast<double>(p[i]), b.status);
    }
#pragma unroll
    for (int i = 0; i < kOwn; ++i)
        if (c + i * size < b.p.extent(1)) add(counts.mass(c + i * size), mass[i]);
}

/// counts: of this block in shared memory, or, where they do not fit, the result itself.
__global__ void __launch_bounds__(kThreads)
    count_kernel(EarlierKernels earlier, Batch b, RoutingCounts result, int size, bool shared) {
    earlier.wait();
    RoutingCounts counts = result;
    if (shared) counts.words = dynamic_shared<std::int64_t>();
    for (Index i = threadIdx.x; shared && i < counts.at.count(); i += kThreads) counts.words[i] = 0;
    __syncthreads();

    const Index T = b.p.extent(0), step = static_cast<Index>(gridDim.x) * (kThreads / size);
    const Index begin =
        static_cast<Index>(blockIdx.x) * (kThreads / size) + threadIdx.x / kWarp * (kWarp / size);
    for (Index first = begin; first < T; first += step) {
        Team team;
        const Index t = team_row(first, T, size, team);
        if (b.valid(t) == 0) team.lane = kNoColumn;
        count_row(b, t, team, counts);
    }
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    for (Index c = lane % size; c < b.p.extent(1); c += kOwn * size)
        count_mass(b, c, size, begin + lane / size, step, counts);

    __syncthreads();
    for (Index i = threadIdx.x; shared && i < counts.at.count(); i += kThreads)
        add(result.words[i], counts.words[i]);
}

inline void count(Stream stream, View<const std::int32_t, 2> expert, View<const std::int32_t, 2> choice,
                  View<const float, 2> p, View<const std::uint8_t, 1> valid, View<std::int64_t, 1> words) {
    constexpr Index kShared = 6000;  // words: 48 KB, less what is static
    const cudaStream_t on = cuda_stream(stream);
    elements("route_stats", on, words.extent(0), [=] __device__(Index i) { words(i) = 0; });
    const RoutingCounts result{words.data, {p.extent(1), expert.extent(1)}};
    const int size = team_size(p.extent(1));
    const bool shared = words.extent(0) <= kShared;
    // A row of a team is a chain of logarithms: one a team, unless so many blocks would add to the result for longer than that.
    constexpr Index kAdditions = 32768;
    const auto most = std::max(static_cast<unsigned>(kAdditions / words.extent(0)),
                               static_cast<unsigned>(device_limits().multiprocessors));
    const unsigned blocks = std::min(blocks_for(p.extent(0), kThreads / size), most);
    launch_early("route_stats", count_kernel, dim3(blocks), dim3(kThreads),
                 shared ? static_cast<std::size_t>(words.extent(0)) * sizeof(std::int64_t) : 0, on,
                 Batch{expert, choice, p, valid, status()}, result, size, shared);
}

template <class Real>
constexpr RouteStatsKernels<Real> kernels{count};

}  // namespace
}  // namespace moegrad::cuda::route_stats

MOEGRAD_CUDA_FLOAT_SEAT(route_stats)
