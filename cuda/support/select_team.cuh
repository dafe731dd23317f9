#pragma once
// Selection of the best of n scores as in select.cuh, by a few warps of a block of kSelectWarps. All teams of the block go
// through the same barriers, whatever each has to do.
// Digits are of order - lowest order, not of the order itself: floats of one size share their upper bits, and a bin that
// everybody counts into takes one lane at a time.

#include <moegrad/cuda/support/select.cuh>

namespace moegrad::cuda {
namespace {

/// kSelectWarps / experts warps a team, at least one.
struct SelectTeam {
    int warps, count, place, lane;  // lane: of the team

    __device__ explicit SelectTeam(Index experts)
        : warps(experts < kSelectWarps ? kSelectWarps / static_cast<int>(experts) : 1),
          count(kSelectWarps / warps),
          place(static_cast<int>(threadIdx.x) / kWarp / warps),
          lane(static_cast<int>(threadIdx.x) - place * warps * kWarp) {}

    __device__ int size() const { return warps * kWarp; }
};

/// What the warps of a block tell each other. Of warps: low, high; of teams: the others.
struct SelectRoom {
    int bins[kSelectWarps][kSelectBins];
    std::uint32_t low[kSelectWarps], high[kSelectWarps];
    int digit[kSelectWarps], rank[kSelectWarps], equal[kSelectWarps];
    Index last[kSelectWarps];
};

/// The lowest and the highest order but 0 of a team.
template <class Order>
__device__ __forceinline__ void range_of(const SelectTeam& team, Index n, Order order, SelectRoom& room,
                                         std::uint32_t& low, std::uint32_t& high) {
    low = 0xffffffffu, high = 0;
    for (Index i = team.lane; i < n; i += team.size()) {
        const std::uint32_t mine = order(i);
        if (mine != 0) low = min(low, mine), high = max(high, mine);
    }
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        low = min(low, __shfl_xor_sync(0xffffffffu, low, distance));
        high = max(high, __shfl_xor_sync(0xffffffffu, high, distance));
    }
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    if (threadIdx.x % kWarp == 0) room.low[warp] = low, room.high[warp] = high;
    __syncthreads();
    for (int i = 0; i < team.warps && team.place < team.count; ++i) {
        low = min(low, room.low[team.place * team.warps + i]);
        high = max(high, room.high[team.place * team.warps + i]);
    }
}

/// The cut that takes the `rank` best of order(0) .. order(n - 1), of which there are that many; all threads of the team get
/// it. rank 0: nothing. By the whole block.
template <class Order>
__device__ __forceinline__ Cut select_best(const SelectTeam& team, Index n, Index rank, Order order) {
    __shared__ SelectRoom room;
    const bool busy = rank > 0;
    const int place = min(team.place, kSelectWarps - 1);
    int* bins = room.bins[place];
    std::uint32_t low, high;
    range_of(team, busy ? n : 0, order, room, low, high);
    int left = static_cast<int>(rank), shift = busy ? max(0, 24 - __clz(static_cast<int>(high - low))) : 0,
        above = 32;
    std::uint32_t prefix = 0;  // the digits so far: (order - low) >> above
    for (int pass = 0; pass < 4; ++pass) {
        const bool counts = busy && above > 0;
        for (int b = team.lane; counts && b < kSelectBins; b += team.size()) bins[b] = 0;
        __syncthreads();
        for (Index i = team.lane; counts && i < n; i += team.size()) {
            const std::uint32_t mine = order(i), key = mine - low;
            const bool alike = above == 32 || key >> above == prefix;
            if (mine != 0 && alike)
                atomicAdd(bins + (key >> shift & ((1u << (min(above, shift + 8) - shift)) - 1)), 1);
        }
        __syncthreads();
        if (counts && team.lane < kWarp) {
            const int digit = bin_of(bins, team.lane, left);
            if (team.lane == 0)
                room.digit[place] = digit, room.rank[place] = left, room.equal[place] = bins[digit];
        }
        __syncthreads();
        if (!counts) continue;
        left = room.rank[place];
        prefix = above == 32 ? static_cast<std::uint32_t>(room.digit[place])
                             : prefix << (above - shift) | static_cast<std::uint32_t>(room.digit[place]);
        above = shift, shift = max(0, shift - 8);
    }
    const std::uint32_t wanted = low + prefix;
    const bool alone = busy && room.equal[place] == 1;
    for (Index i = team.lane; alone && i < n; i += team.size())
        if (order(i) == wanted) room.last[place] = i;
    if (busy && !alone && team.lane < kWarp) {
        const Index last = index_of(team.lane, n, wanted, left, order);
        if (team.lane == 0) room.last[place] = last;
    }
    __syncthreads();
    return busy ? Cut{wanted, room.last[place]} : Cut{};
}

}  // namespace
}  // namespace moegrad::cuda
