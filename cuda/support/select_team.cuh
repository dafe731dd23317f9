#pragma once
// Selection of the best of n orders (score_order of select.cuh; 0: not there) by a team of warps of a block of kTeamWarps.
// All teams go through the same barriers, whatever each has to do. A key is one of a kind: the order above, the index below,
// larger for the lower index (order_of of score_order.cuh).
//     list     the keys from a guess on, in any order
//     rank     a warp a listed key: how many are larger? The key with the right answer is the cut
// A guess that lists fewer than are wanted, or more than kListed, costs time alone; then comes before `rank`:
//     count    orders into 256 bins of one width, where the caller expects the cut; the first and the last take the rest
//     narrow   only while the bin of the cut has more than kListed keys: bins of 8 bits of the key, from the top
//     list     the keys of that bin
// A barrier follows each. Rows begin at 16 bytes and have room for a multiple of 4, behind n zeros: a thread reads 16 bytes.

#include <moegrad/cuda/support/select.cuh>

namespace moegrad::cuda {
namespace {

using Key = unsigned long long;
inline constexpr int kTeamWarps =
    16;  // of a block: what all threads do together costs more with more of them
inline constexpr int kListed = 256;

__device__ __forceinline__ Key key_of(std::uint32_t order, int i) {
    return static_cast<Key>(order) << 32 | (0xffffffffu - static_cast<std::uint32_t>(i));
}
__device__ __forceinline__ std::uint32_t order_in(Key key) {
    return static_cast<std::uint32_t>(key >> 32);
}
__device__ __forceinline__ int index_in(Key key) {
    return static_cast<int>(0xffffffffu - static_cast<std::uint32_t>(key));
}

/// kTeamWarps / rows warps a team, at least one.
struct SelectTeam {
    int warps, count, place, lane;  // lane: of the team

    __device__ explicit SelectTeam(int rows)
        : warps(kTeamWarps / max(1, min(rows, kTeamWarps))),
          count(kTeamWarps / warps),
          place(static_cast<int>(threadIdx.x) / kWarp / warps),
          lane(static_cast<int>(threadIdx.x) - place * warps * kWarp) {}

    __device__ int size() const { return warps * kWarp; }
    __device__ int warp() const { return lane / kWarp; }
    __device__ int warp_lane() const { return lane % kWarp; }
};

/// What the warps of a team tell each other; listed and there are 0 before a selection.
struct TeamNotes {
    union {
        alignas(16) int bins[kSelectBins];
        Key list[kListed];
    };
    Key cut;
    int listed, there;     // there: orders but 0
    int bin, left, count;  // the cut is the left-th largest of `count` in this bin
};

__device__ __forceinline__ TeamNotes& notes_of(const SelectTeam& team) {
    __shared__ TeamNotes all[kTeamWarps];
    return all[team.place];
}

__device__ __forceinline__ void clear_notes(const SelectTeam& team) {
    if (team.lane == 0) notes_of(team).listed = notes_of(team).there = 0;
}

/// body(i, {order[i], .., order[i + 3]}) for i = 0, 4, .. by the team; all lanes of a warp together, with zeros behind n.
template <class Body>
__device__ __forceinline__ void each_four(const SelectTeam& team, const std::uint32_t* order, int n,
                                          Body body) {
    for (int i = 4 * team.lane; i - 4 * team.warp_lane() < n; i += 4 * team.size()) {
        uint4 read{};
        if (i < n) read = *reinterpret_cast<const uint4*>(order + i);
        const std::uint32_t four[4] = {read.x, read.y, read.z, read.w};
        body(i, four);
    }
}
/// body(key) for those that are there.
template <class Body>
__device__ __forceinline__ void each_key(const SelectTeam& team, const std::uint32_t* order, int n,
                                         Body body) {
    each_four(team, order, n, [&](int i, const std::uint32_t(&four)[4]) {
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (four[k] != 0) body(key_of(four[k], i + k));
    });
}

__device__ __forceinline__ int lanes_total(int x) {
#if defined(__CUDA_ARCH__)
    return __reduce_add_sync(0xffffffffu, x);
#else
    return lanes_sum(x);
#endif
}

/// The keys from order `guess` > 0 on into the list, as far as there is room, and how many are there. A warp counts its own
/// before it reads them once more, so that it asks for places once: all warps ask at one address.
__device__ __forceinline__ void list_from(const SelectTeam& team, TeamNotes& notes,
                                          const std::uint32_t* order, int n, std::uint32_t guess) {
    int there = 0, own = 0;
    each_four(team, order, n, [&](int, const std::uint32_t(&four)[4]) {
#pragma unroll
        for (int k = 0; k < 4; ++k) there += four[k] != 0, own += four[k] >= guess;
    });
    there = lanes_total(there);
    const int found = lanes_total(own), lane = team.warp_lane();
    int at = 0;
    if (lane < 2) at = atomicAdd(lane == 0 ? &notes.listed : &notes.there, lane == 0 ? found : there);
    if (found == 0) return;
    at = __shfl_sync(0xffffffffu, at, 0) + warp_prefix(own, lane) - own;
    if (own == 0) return;
    each_four(team, order, n, [&](int i, const std::uint32_t(&four)[4]) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            if (four[k] < guess) continue;
            if (at < kListed) notes.list[at] = key_of(four[k], i + k);
            ++at;
        }
    });
}

/// Which bin a score falls into: a monotone function of it, whatever its roundings, so that bins are in order.
struct BinScale {
    float low, factor;

    __device__ BinScale(float low_, float width) : low(low_), factor((kSelectBins - 1) / width) {}
    __device__ int bin(std::uint32_t order) const {
        const float place = (score_of(order) - low) * factor;
        return static_cast<int>(fminf(fmaxf(place, 0.0f), kSelectBins - 1.0f));  // NaN: the first
    }
};

/// By a warp: the bin of the rank-th largest, 1 <= rank <= what all bins hold. -> whether it has too many for the list. A
/// lane has 8 neighbouring bins.
__device__ __forceinline__ bool find_bin(TeamNotes& notes, int lane, int rank) {
    constexpr int kOwn = 8;
    static_assert(kOwn * kWarp == kSelectBins);
    const int4 low = reinterpret_cast<const int4*>(notes.bins)[2 * lane],
               high = reinterpret_cast<const int4*>(notes.bins)[2 * lane + 1];
    const int bins[kOwn] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    int own = 0;
#pragma unroll
    for (int b = 0; b < kOwn; ++b) own += bins[b];
    int from_here = own;  // in the bins of this lane and of those above
#pragma unroll
    for (int distance = 1; distance < kWarp; distance *= 2) {
        const int above = __shfl_down_sync(0xffffffffu, from_here, static_cast<unsigned>(distance));
        if (lane + distance < kWarp) from_here += above;
    }
    int left = rank - (from_here - own), bin = -1, count = 0;
    if (left >= 1 && left <= own) {
#pragma unroll
        for (int b = kOwn - 1; b >= 0; --b) {
            if (bin >= 0) continue;
            if (left > bins[b]) {
                left -= bins[b];
            } else {
                bin = lane * kOwn + b, count = bins[b];
            }
        }
    }
    if (lane == 0) notes.listed = 0;
    if (bin >= 0) notes.bin = bin, notes.left = left, notes.count = count;
    return count > kListed;
}

/// By the block; rank 0: the team has nothing to do. Lists the keys of the bin of the rank-th largest.
__device__ __forceinline__ void list_bin(const SelectTeam& team, TeamNotes& notes, const std::uint32_t* order,
                                         int n, const BinScale& scale, int rank) {
    const bool first_warp = team.warp() == 0;
    const auto clear_bins = [&](bool mine) {
        for (int b = team.lane; mine && b < kSelectBins; b += team.size()) notes.bins[b] = 0;
        __syncthreads();
    };
    clear_bins(rank > 0);
    each_key(team, order, rank > 0 ? n : 0,
             [&](Key key) { atomicAdd(notes.bins + scale.bin(order_in(key)), 1); });
    __syncthreads();
    int crowded = __syncthreads_or(rank > 0 && first_warp && find_bin(notes, team.warp_lane(), rank));
    const int bin = notes.bin;
    Key prefix = 0, mask = 0;
    const auto inside = [&](Key key) { return scale.bin(order_in(key)) == bin && (key & mask) == prefix; };
    for (int shift = 56; crowded != 0; shift -= 8) {
        const bool mine = rank > 0 && notes.count > kListed;
        const int left = notes.left;
        clear_bins(mine);
        each_key(team, order, mine ? n : 0, [&](Key key) {
            if (inside(key)) atomicAdd(notes.bins + (key >> shift & 255u), 1);
        });
        __syncthreads();
        crowded = __syncthreads_or(mine && first_warp && find_bin(notes, team.warp_lane(), left));
        if (!mine) continue;
        prefix |= static_cast<Key>(notes.bin) << shift;
        mask |= Key{255} << shift;
    }
    each_key(team, order, rank > 0 ? n : 0, [&](Key key) {
        if (inside(key)) notes.list[atomicAdd(&notes.listed, 1)] = key;
    });
    __syncthreads();
}

/// The rank-th largest of the listed keys becomes the cut. By the team.
__device__ __forceinline__ void rank_list(const SelectTeam& team, TeamNotes& notes, int count, int rank) {
    for (int i = team.warp(); i < count; i += team.warps) {
        const Key mine = notes.list[i];
        int larger = 0;
        for (int first = 0; first < count; first += kWarp) {
            const int other = first + team.warp_lane();
            larger += __popc(__ballot_sync(0xffffffffu, other < count && notes.list[other] > mine));
        }
        if (larger == rank - 1 && team.warp_lane() == 0) notes.cut = mine;
    }
}

/// The best keys are those from `cut` on.
struct Best {
    Key cut;
    int there, listed;  // orders but 0; keys from the guess on
    bool in_list;       // those lie in the list until the next selection

    /// body(i) for the keys above `last` >= cut - 1. By the team.
    template <class Body>
    __device__ void each_above(Key last, const SelectTeam& team, const std::uint32_t* order, int n,
                               Body body) const {
        const auto take = [&](Key key) {
            if (key > last) body(index_in(key));
        };
        if (!in_list) return each_key(team, order, n, take);
        for (int i = team.lane; i < listed; i += team.size()) take(notes_of(team).list[i]);
    }
};

/// The rank(there) best of order[0] .. order[n - 1], of which there are that many; rank 0: none, and
/// no list. They are expected from `guess` on, and
/// their last one in the bins of `scale`. By the whole block; all threads of a team get the same.
template <class Rank, class Scale>
__device__ __forceinline__ Best select_best(const SelectTeam& team, const std::uint32_t* order, int n,
                                            std::uint32_t guess, Scale scale, Rank rank) {
    TeamNotes& notes = notes_of(team);
    list_from(team, notes, order, n, guess);
    __syncthreads();
    Best best{~Key{0}, notes.there, notes.listed, true};
    const int wanted = rank(best.there);
    int count = best.listed, left = wanted;
    best.in_list = wanted <= 0 || (wanted <= count && count <= kListed);
    if (__syncthreads_or(!best.in_list) != 0) {
        list_bin(team, notes, order, n, scale(), best.in_list ? 0 : wanted);
        if (!best.in_list) count = notes.count, left = notes.left;
    }
    if (wanted > 0) rank_list(team, notes, count, left);
    __syncthreads();
    if (wanted > 0) best.cut = notes.cut;
    clear_notes(team);
    return best;
}

}  // namespace
}  // namespace moegrad::cuda
