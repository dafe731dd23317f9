#pragma once
// Selection of the best of n scores by one warp, without sorting them: which is the r-th best, digit by digit of its order.
// Equal scores: the lower index first, -0 equals 0, NaN behind -infinity, as the CPU's selections have it.

#include <moegrad/cuda/support/score_order.cuh>

namespace moegrad::cuda {
namespace {

/// Larger for a better score, never 0.
__device__ __forceinline__ std::uint32_t score_order(float score) {
    return max(static_cast<std::uint32_t>(order_of(score, 0) >> 32), 1u);
}
/// The score of an order, 0 for both zeros; NaN becomes another NaN.
__device__ __forceinline__ float score_of(std::uint32_t order) {
    return __builtin_bit_cast(float, (order & 0x80000000u) != 0 ? order & 0x7fffffffu : ~order);
}

/// Where a selection ends: it takes what is better than `order`, and of its equals those up to index `last`.
struct Cut {
    std::uint32_t order = 0xffffffffu;
    Index last = -1;

    __device__ __forceinline__ bool takes(std::uint32_t mine, Index i) const {
        return mine > order || (mine == order && i <= last);
    }
};

inline constexpr int kSelectWarps = 32, kSelectBins = 256;

/// Sum over the lanes.
__device__ __forceinline__ int lanes_sum(int x) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, distance);
    return x;
}

/// The bin that holds the r-th largest, 1 <= r <= what all bins hold together; takes from r what lies above it. A lane has
/// the bins 8 lane .. 8 lane + 7.
__device__ __forceinline__ int bin_of(const int* bins, int lane, int& r) {
    constexpr int kOwn = kSelectBins / kWarp;
    int own = 0;
    for (int b = 0; b < kOwn; ++b) own += bins[lane * kOwn + b];
    int from_here = own;  // in the bins of this lane and of those above
    for (int distance = 1; distance < kWarp; distance *= 2) {
        const int above = __shfl_down_sync(0xffffffffu, from_here, static_cast<unsigned>(distance));
        if (lane + distance < kWarp) from_here += above;
    }
    int left = r - (from_here - own), bin = -1;  // of the bins of this lane
    if (left >= 1 && left <= own) {
        bin = kOwn - 1;
        while (left > bins[lane * kOwn + bin]) left -= bins[lane * kOwn + bin--];
        bin += lane * kOwn;
    }
    const int owner = __ffs(static_cast<int>(__ballot_sync(0xffffffffu, bin >= 0))) - 1;
    r = __shfl_sync(0xffffffffu, left, owner);
    return __shfl_sync(0xffffffffu, bin, owner);
}

/// The index of the rank-th of those whose order is `wanted`, by a warp.
template <class Order>
__device__ __forceinline__ Index index_of(int lane, Index n, std::uint32_t wanted, int rank, Order order) {
    for (Index first = 0; first < n; first += kWarp) {
        const bool equal = first + lane < n && order(first + lane) == wanted;
        const unsigned found = __ballot_sync(0xffffffffu, equal);
        const unsigned it =
            __ballot_sync(0xffffffffu, equal && __popc(found & ((1u << lane) - 1)) == rank - 1);
        if (it != 0) return first + __ffs(static_cast<int>(it)) - 1;
        rank -= __popc(found);
    }
    return -1;
}

/// The cut that takes the r best of order(0) .. order(n - 1); 0: not among them. All lanes get it; r above what there is
/// takes all. order: Index -> std::uint32_t.
template <class Order>
__device__ __forceinline__ Cut select_best(int lane, Index n, Index wanted, Order order) {
    __shared__ int all_bins[kSelectWarps][kSelectBins];
    int* bins = all_bins[threadIdx.x / kWarp];
    int there = 0;
    for (Index i = lane; i < n; i += kWarp) there += order(i) != 0;
    there = lanes_sum(there);
    int r = static_cast<int>(min(wanted, static_cast<Index>(there)));
    if (r <= 0) return {};
    std::uint32_t prefix = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int b = lane; b < kSelectBins; b += kWarp) bins[b] = 0;
        __syncwarp();
        for (Index i = lane; i < n; i += kWarp) {
            const std::uint32_t mine = order(i);
            const bool alike = shift == 24 || mine >> (shift + 8) == prefix >> (shift + 8);
            if (mine != 0 && alike) atomicAdd(bins + (mine >> shift & 0xffu), 1);
        }
        __syncwarp();
        prefix |= static_cast<std::uint32_t>(bin_of(bins, lane, r)) << shift;
        __syncwarp();
    }
    return {prefix, index_of(lane, n, prefix, r, order)};
}

}  // namespace
}  // namespace moegrad::cuda
