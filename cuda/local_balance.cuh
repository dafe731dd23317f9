#pragma once
// CUDA kernels of ops/local_balance.hpp.
//   sum_segments   one block per segment: Q and the number of its valid tokens, in double
//   finish         one block: Z, its moments, the loss and every slope
// A task outside the types, which the CPU refuses, is of no type and sets status()->bad_index.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/local_balance.hpp>

namespace moegrad::cuda::local_balance {
namespace {

/// A tile: `width` columns (a power of two) by kThreads / width tokens at a time. room [S, E + 1].
__global__ void __launch_bounds__(kThreads)
    sum_segments(View<const float, 2> p, View<const std::int32_t, 1> begin, View<const std::uint8_t, 1> valid,
                 View<double, 2> room, int width) {
    __shared__ double part[kThreads];
    const Index s = blockIdx.x, E = p.extent(1);
    const int me = static_cast<int>(threadIdx.x), rows = kThreads / width;
    for (Index tile = 0; tile < E; tile += width) {
        const Index e = tile + me % width;
        double sum = 0;
        for (Index t = begin(s) + me / width; e < E && t < begin(s + 1); t += rows)
            sum += valid(t) != 0 ? static_cast<double>(p(t, e)) : 0;
        part[me] = sum;
        __syncthreads();
        for (int half = kThreads / 2; half >= width; half /= 2) {
            if (me < half) part[me] += part[me + half];
            __syncthreads();
        }
        if (me < width && e < E) room(s, e) = part[me];
        __syncthreads();
    }
    double n = 0;
    for (Index t = begin(s) + me; t < begin(s + 1); t += kThreads) n += valid(t) != 0;
    n = block_sum(n);
    if (me == 0) room(s, E) = n;
}

__global__ void __launch_bounds__(kThreads)
    finish(View<const std::int32_t, 1> task, View<float, 1> loss, View<float, 2> slope, View<double, 2> room,
           LocalBalanceOptions options, int* bad_index) {
    const Index S = slope.extent(0), E = slope.extent(1);
    double n = 0, mean = 0, variance = 0;
    for (Index i = threadIdx.x; i < S * E; i += kThreads) {  // a value stays with its thread
        const Index s = i / E, e = i % E;
        if (room(s, E) == 0) continue;
        if (task(s) < 0 || task(s) >= options.types) *bad_index = 1;
        room(s, e) *= local_importance(options, task(s), e, E);
        mean += room(s, e);
        n += 1;
    }
    n = block_sum(n);
    mean = block_sum(mean);
    mean = n > 0 ? mean / n : 0;
    for (Index i = threadIdx.x; i < S * E; i += kThreads) {
        const double off = room(i / E, i % E) - mean;
        if (room(i / E, E) != 0) variance += off * off;
    }
    variance = block_sum(variance);
    const bool squared = options.form == LocalBalanceOptions::Form::squared;
    const LocalBalance balance{n, mean, n > 1 ? variance / (squared ? n - 1 : n) : 0, squared};
    for (Index i = threadIdx.x; i < S * E; i += kThreads) {
        const Index s = i / E, e = i % E;
        const double own = local_importance(options, task(s), e, E);
        slope(s, e) = static_cast<float>(room(s, E) != 0 ? own * balance.slope(room(s, e)) : 0);
    }
    if (threadIdx.x == 0) loss(0) = static_cast<float>(balance.loss());
}

inline void forward(Stream stream, View<const float, 2> p, View<const std::int32_t, 1> begin,
                    View<const std::uint8_t, 1> valid, View<const std::int32_t, 1> task, View<float, 1> loss,
                    View<float, 2> slope, View<double, 2> room, LocalBalanceOptions options) {
    int width = 1;
    while (width < kThreads && width < p.extent(1)) width *= 2;
    launch("local_balance", sum_segments, dim3(static_cast<unsigned>(slope.extent(0))), dim3(kThreads), 0,
           cuda_stream(stream), p, begin, valid, room, width);
    launch("local_balance", finish, dim3(1), dim3(kThreads), 0, cuda_stream(stream), task, loss, slope, room,
           options, &status()->bad_index);
}

inline void backward(Stream stream, View<const float, 2> slope, View<const std::int32_t, 1> segment,
                     View<const std::uint8_t, 1> valid, View<const float, 1> dloss, View<float, 2> dp,
                     Write write) {
    teams("local_balance backward", cuda_stream(stream), dp.extent(0), dp.extent(1),
          [=] __device__(Index t, Team team) {
              for (Index e = team.lane; e < dp.extent(1); e += team.size)
                  put(dp(t, e), valid(t) != 0 ? dloss(0) * slope(segment(t), e) : 0, write);
          });
}

template <class Real>
constexpr LocalBalanceKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::local_balance

MOEGRAD_CUDA_FLOAT_SEAT(local_balance)
