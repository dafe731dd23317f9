#pragma once
// CUDA kernels of ops/uncertain_tokens.hpp.
//   find_limit   the quantile: one block finds the value of a rank bit by bit, 32 counts over the batch
//   decide       a warp takes a segment, 32 tokens at a time, and counts the flagged ones in their order

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/uncertain_tokens.hpp>

namespace moegrad::cuda::uncertain_tokens {
namespace {

/// Whole numbers in the order of the floats, and back.
__device__ __forceinline__ std::uint32_t key_of(float value) {
    const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value);
    return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of(std::uint32_t key) {
    return __builtin_bit_cast(float, (key >> 31) != 0 ? key & 0x7fffffffu : ~key);
}

/// How many valid tokens have a key below `key`; in every thread. Above every number: all of them.
__device__ __forceinline__ Index count_below(View<const float, 1> h, View<const std::uint8_t, 1> valid,
                                             std::uint32_t key) {
    double n = 0;
    for (Index t = threadIdx.x; t < h.size(); t += kThreads)
        n += valid(t) != 0 && h(t) == h(t) && key_of(h(t)) < key;
    return static_cast<Index>(block_sum(n));
}

__global__ void __launch_bounds__(kThreads)
    find_limit(View<const float, 1> h, View<const std::uint8_t, 1> valid, View<double, 1> limit,
               UncertainOptions options) {
    const Index n = count_below(h, valid, 0xffffffffu), rank = options.rank(n);
    std::uint32_t key = 0;  // the largest with at most `rank` values below it
    for (int bit = 31; bit >= 0; --bit) {
        const std::uint32_t higher = key | (1u << bit);
        if (count_below(h, valid, higher) <= rank) key = higher;
    }
    if (threadIdx.x == 0) limit(0) = n == 0 ? INFINITY : static_cast<double>(value_of(key));
}

inline void decide(Stream stream, View<const float, 1> h, View<const std::uint8_t, 1> valid,
                   View<const std::int32_t, 1> begin, View<double, 1> limit, View<std::int32_t, 1> flag,
                   UncertainOptions options) {
    if (options.by_quantile()) {
        launch("uncertain_tokens", find_limit, dim3(1), dim3(kThreads), 0, cuda_stream(stream), h, valid,
               limit, options);
    }
    int* not_finite = &status()->not_finite;
    const auto over = [=] __device__(Index t) {
        if (valid(t) != 0 && h(t) != h(t)) *not_finite = 1;
        const double H = options.by_quantile() ? limit(0) : options.threshold;
        return valid(t) != 0 && static_cast<double>(h(t)) >= H;
    };
    if (options.slots < 0) {
        elements("uncertain_tokens", cuda_stream(stream), h.size(),
                 [=] __device__(Index t) { flag(t) = over(t); });
        return;
    }
    warps("uncertain_tokens", cuda_stream(stream), begin.size() - 1, [=] __device__(Index s, int lane) {
        Index before = 0;
        for (Index first = begin(s); first < begin(s + 1); first += kWarp) {
            const Index t = first + lane;
            const bool here = t < begin(s + 1), mine = here && over(t);
            const unsigned all = __ballot_sync(0xffffffffu, mine);
            const Index rank = before + __popc(all & ((1u << lane) - 1));
            if (here) flag(t) = mine && rank < options.slots;
            before += __popc(all);
        }
    });
}

inline void spread(Stream stream, View<const std::int32_t, 1> flag, View<float, 1> score,
                   View<float, 2> branch) {
    elements("uncertain_tokens spread", cuda_stream(stream), flag.size(), [=] __device__(Index t) {
        const float is = static_cast<float>(flag(t));
        score(t) = is;
        branch(t, 0) = 1 - is;
        branch(t, 1) = is;
    });
}

template <class Real>
constexpr UncertainTokensKernels<Real> kernels{decide, spread};

}  // namespace
}  // namespace moegrad::cuda::uncertain_tokens

MOEGRAD_CUDA_FLOAT_SEAT(uncertain_tokens)
