#pragma once
// CUDA kernels of ops/balance_pool.hpp: one block per column adds its probabilities and slots, one more counts the tokens; a
// single block makes loss and slope of them. A thread adds its rows in order, then the threads of a block: one order. A
// column that does not exist, which the CPU refuses, sets status()->bad_index.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/balance_pool.hpp>

namespace moegrad::cuda::balance_pool {
namespace {

__global__ void __launch_bounds__(kThreads)
    count_columns(View<const float, 2> p, View<const std::int32_t, 2> choice,
                  View<const std::uint8_t, 1> valid, View<double, 1> sums, Write write, int* bad_index) {
    const Index c = blockIdx.x, T = p.extent(0), C = p.extent(1), K = choice.extent(1);
    double mass = 0, slots = 0;
    for (Index t = threadIdx.x; t < T; t += kThreads) {
        if (c == C) {
            mass += valid(t) != 0;
            for (Index k = 0; k < K; ++k)
                if (choice(t, k) >= C) *bad_index = 1;
            continue;
        }
        if (valid(t) == 0) continue;
        mass += static_cast<double>(p(t, c));
        for (Index k = 0; k < K; ++k) slots += choice(t, k) == c;
    }
    mass = block_sum(mass);
    slots = block_sum(slots);
    if (threadIdx.x != 0) return;
    const bool adds = write == Write::accumulate;
    double& place = sums(c == C ? 2 * C : c);
    place = adds ? place + mass : mass;
    if (c < C) sums(C + c) = adds ? sums(C + c) + slots : slots;
}

__global__ void __launch_bounds__(kThreads)
    make_loss(View<const double, 1> sums, Index K, View<float, 1> loss, View<float, 2> slope,
              BalanceOptions options) {
    const Index C = slope.extent(1);
    const double n = sums(2 * C);
    const double slots = options.counts == BalanceOptions::Counts::share ? static_cast<double>(K) : 1;
    const double factor = n > 0 && K > 0 ? static_cast<double>(C) / (n * slots) / n : 0;
    const Index separate = options.nulls == BalanceOptions::Nulls::averaged ? options.true_experts : C;
    double nulls = 0;
    for (Index c = separate + threadIdx.x; c < C; c += kThreads) nulls += sums(C + c);
    nulls = block_sum(nulls) / static_cast<double>(C > separate ? C - separate : 1);
    double total = 0;
    for (Index c = threadIdx.x; c < C; c += kThreads) {
        slope(0, c) = static_cast<float>((c < separate ? sums(C + c) : nulls) * factor);
        total += static_cast<double>(slope(0, c)) * sums(c);
    }
    total = block_sum(total);
    if (threadIdx.x == 0) loss(0) = static_cast<float>(total);
}

inline void count(Stream stream, View<const float, 2> p, View<const std::int32_t, 2> choice,
                  View<const std::uint8_t, 1> valid, View<double, 1> sums, Write write) {
    launch("balance_pool", count_columns, dim3(static_cast<unsigned>(p.extent(1) + 1)), dim3(kThreads), 0,
           cuda_stream(stream), p, choice, valid, sums, write, &status()->bad_index);
}

inline void finish(Stream stream, View<const double, 1> sums, Index K, View<float, 1> loss,
                   View<float, 2> slope, BalanceOptions options) {
    launch("balance_pool", make_loss, dim3(1), dim3(kThreads), 0, cuda_stream(stream), sums, K, loss, slope,
           options);
}

template <class Real>
constexpr BalancePoolKernels<Real> kernels{count, finish};

}  // namespace
}  // namespace moegrad::cuda::balance_pool

MOEGRAD_CUDA_FLOAT_SEAT(balance_pool)
