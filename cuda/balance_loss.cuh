#pragma once
// CUDA kernels of ops/balance_loss.hpp. A group is the valid tokens of a segment, or of the micro-batch.
//   sum_chunks   one block per chunk of kBalanceChunk rows of a group: sums of p and counts of slots per column, n
//   finish       one block per group adds its chunks in order; slope and loss from the sums
// p is summed in double, counts are exact. A column beyond C, which the CPU refuses, counts nowhere and sets
// status()->bad_index.

#include <moegrad/cuda/support/balance_groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/balance_loss.hpp>

namespace moegrad::cuda::balance_loss {
namespace {

/// room[chunk]: C sums of p, C counts of slots, the number of valid tokens.
struct Sums {
    View<double, 2> room;
    Index C;

    __device__ double& p(Index chunk, Index c) const { return room(chunk, c); }
    __device__ double& slots(Index chunk, Index c) const { return room(chunk, C + c); }
    __device__ double& tokens(Index chunk) const { return room(chunk, 2 * C); }
};

struct Tokens {
    View<const float, 2> p;              // [T, C]
    View<const std::int32_t, 2> choice;  // [T, K]
    View<const std::uint8_t, 1> valid;   // [T]
    int* bad_index;
};

/// Valid tokens among rows [begin, end), in every thread; looks at their choices.
__device__ __forceinline__ double count_tokens(const Tokens& in, Index begin, Index end) {
    double n = 0;
    for (Index t = begin + threadIdx.x; t < end; t += kThreads) {
        n += in.valid(t) != 0;
        for (Index k = 0; k < in.choice.extent(1); ++k) {
            if (in.choice(t, k) >= in.p.extent(1)) *in.bad_index = 1;
        }
    }
    return block_sum(n);
}

/// A tile: `width` columns (a power of two) by kThreads / width rows at a time.
__global__ void __launch_bounds__(kThreads)
    sum_chunks(EarlierKernels earlier, Tokens in, Groups groups, Sums sums, int width) {
    earlier.wait();
    __shared__ double p_part[kThreads], slot_part[kThreads];
    const Index chunk = blockIdx.x, s = groups.of(chunk);
    const Index begin = groups.begin(s) + (chunk - groups.first(s)) * kBalanceChunk;
    const Index end = min(begin + kBalanceChunk, groups.end(s));
    const int me = static_cast<int>(threadIdx.x), rows = kThreads / width;
    for (Index tile = 0; tile < sums.C; tile += width) {
        const Index c = tile + me % width;
        double p = 0, slots = 0;
        for (Index t = begin + me / width; c < sums.C && t < end; t += rows) {
            if (in.valid(t) == 0) continue;
            p += static_cast<double>(in.p(t, c));
            for (Index k = 0; k < in.choice.extent(1); ++k) slots += in.choice(t, k) == c;
        }
        p_part[me] = p;
        slot_part[me] = slots;
        __syncthreads();
        for (int half = kThreads / 2; half >= width; half /= 2) {
            if (me < half) {
                p_part[me] += p_part[me + half];
                slot_part[me] += slot_part[me + half];
            }
            __syncthreads();
        }
        if (me < width && c < sums.C) {
            sums.p(chunk, c) = p_part[me];
            sums.slots(chunk, c) = slot_part[me];
        }
        __syncthreads();
    }
    const double n = count_tokens(in, begin, end);
    if (me == 0) sums.tokens(chunk) = n;
}

/// slope [S, C] = C f / n, loss [S] = sum_c slope P n.   K: slots per token.
__global__ void __launch_bounds__(kThreads)
    finish(EarlierKernels earlier, Groups groups, Sums sums, Index K, View<float, 1> loss,
           View<float, 2> slope, BalanceOptions options) {
    earlier.wait();
    const Index s = blockIdx.x, C = sums.C, first = groups.first(s), behind = groups.behind(s);
    const bool averaged = options.nulls == BalanceOptions::Nulls::averaged;
    double n = 0, nulls = 0;
    for (Index chunk = first + threadIdx.x; chunk < behind; chunk += kThreads) n += sums.tokens(chunk);
    n = block_sum(n);
    for (Index c = threadIdx.x; c < C; c += kThreads) {
        double p = 0, slots = 0;
        for (Index chunk = first; chunk < behind; ++chunk) {
            p += sums.p(chunk, c);
            slots += sums.slots(chunk, c);
        }
        sums.p(first, c) = p;  // this thread alone reads and writes column c
        slope(s, c) = static_cast<float>(slots);
        if (averaged && c >= options.true_experts) nulls += slots;
    }
    nulls = block_sum(nulls);
    const bool counts = n > 0 && K > 0;
    const double per = n * (options.counts == BalanceOptions::Counts::share ? static_cast<double>(K) : 1);
    const float factor = counts ? static_cast<float>(static_cast<double>(C) / per / n) : 0;
    double total = 0;
    for (Index c = threadIdx.x; c < C; c += kThreads) {
        const bool mean = averaged && c >= options.true_experts;
        const float slots =
            mean ? static_cast<float>(nulls) / static_cast<float>(C - options.true_experts) : slope(s, c);
        slope(s, c) = slots * factor;
        total += static_cast<double>(slope(s, c)) * sums.p(first, c);
    }
    total = block_sum(total);
    if (threadIdx.x == 0) loss(s) = counts ? static_cast<float>(total) : 0;
}

inline void forward(Stream stream, View<const float, 2> p, View<const std::int32_t, 2> choice,
                    View<const std::int32_t, 1> begin, View<const std::uint8_t, 1> valid, View<float, 1> loss,
                    View<float, 2> slope, View<double, 2> room, BalanceOptions options) {
    const Index T = p.extent(0), C = p.extent(1), S = loss.extent(0);
    const Groups groups{begin, S, T, options.scope == BalanceOptions::Scope::sequence};
    int width = 1;
    while (width < kThreads && width < C) width *= 2;
    launch_early("balance_loss", sum_chunks, dim3(static_cast<unsigned>(S == 0 ? 0 : balance_chunks(T, S))),
                 dim3(kThreads), 0, cuda_stream(stream), Tokens{p, choice, valid, &status()->bad_index},
                 groups, Sums{room, C}, width);
    launch_early("balance_loss", finish, dim3(static_cast<unsigned>(S)), dim3(kThreads), 0,
                 cuda_stream(stream), groups, Sums{room, C}, choice.extent(1), loss, slope, options);
}

inline void backward(Stream stream, View<const float, 2> slope, View<const std::int32_t, 1> segment,
                     View<const std::uint8_t, 1> valid, View<const float, 1> dloss, View<float, 2> dp,
                     Write write, BalanceOptions options) {
    const Index C = dp.extent(1);
    const bool sequence = options.scope == BalanceOptions::Scope::sequence;
    teams("balance_loss backward", cuda_stream(stream), dp.extent(0), C, [=] __device__(Index t, Team team) {
        const bool counts = valid(t) != 0;
        const Index s = sequence ? segment(t) : 0;
        for (Index c = team.lane; c < C; c += team.size)
            put(dp(t, c), counts ? dloss(s) * slope(s, c) : 0, write);
    });
}

template <class Real>
constexpr BalanceLossKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::balance_loss

MOEGRAD_CUDA_FLOAT_SEAT(balance_loss)
