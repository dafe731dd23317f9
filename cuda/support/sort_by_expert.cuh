#pragma once
// sort_by_expert: a stable counting sort of the used slots of expert [T, K] by expert, on the device.
// Slots are taken in (token, slot) order in chunks of kSortItems, one block each.
//   count    room[e, chunk] = slots of e in the chunk
//   offsets  room[e, chunk] = slots of e in the chunks before it;  expert_begin[e] = all of them
//   begins   expert_begin = exclusive prefix sums, cut at the rows there is room for
//   place    row = expert_begin[e] + room[e, chunk] + slots of e before it in its chunk
// The last term: warps own neighbouring parts of a chunk and count them first; inside a warp, lanes of one expert
// find each other by one ballot per bit of the number. Only integers are added: the same plan every time.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/dispatch.hpp>

namespace moegrad::cuda {
namespace {

inline constexpr int kSortThreads = 512;

/// Threads of a block that places slots of E experts: fewer where a count per warp and expert would not fit.
inline int sort_threads(Index E) {
    constexpr Index kRoom = 48 * 1024 / sizeof(int);
    int threads = kSortThreads;
    while (threads > kWarp && threads / kWarp * E > kRoom) threads /= 2;
    return threads;
}

/// What a sort reads and writes. slot_row and token may be empty; `slot` says how many rows there is room for.
struct ExpertSort {
    View<const std::int32_t, 2> expert;  // [T, K]
    View<std::int32_t, 1> begin;         // [E + 1]
    View<std::int32_t, 1> token, slot;   // [bound] each; -1 from N on
    View<std::int32_t, 2> slot_row;      // [T, K]
    std::int32_t* room;                  // [E, chunks]

    __device__ Index slots() const { return expert.extent(0) * expert.extent(1); }
    __device__ Index experts() const { return begin.extent(0) - 1; }
    /// Token of slot i. Division in 64 bits takes longer than all else that is done to a slot.
    __device__ Index token_of(Index i) const {
        return static_cast<std::uint32_t>(i) / static_cast<std::uint32_t>(expert.extent(1));
    }
    /// The expert of slot i; -1 where it has none.
    __device__ int expert_of(Index i) const {
        if (i >= slots()) return -1;
        const Index t = token_of(i);
        return max(expert(t, i - t * expert.extent(1)), -1);
    }
};

__global__ void __launch_bounds__(kSortThreads)
    sort_count(EarlierKernels earlier, ExpertSort p, Index chunks, int* bad_index) {
    earlier.wait();
    int* counts = dynamic_shared<int>();  // [E]
    const Index E = p.experts(), first = blockIdx.x * kSortItems;
    for (Index e = threadIdx.x; e < E; e += kSortThreads) counts[e] = 0;
    __syncthreads();
    for (Index i = threadIdx.x; i < kSortItems; i += kSortThreads) {
        const int e = p.expert_of(first + i);
        if (e >= E) *bad_index = 1;
        if (e >= 0 && e < E) atomicAdd(counts + e, 1);
    }
    __syncthreads();
    for (Index e = threadIdx.x; e < E; e += kSortThreads) p.room[e * chunks + blockIdx.x] = counts[e];
}

/// Exclusive prefix sums of n numbers in place, by one warp; returns the sum of all.
__device__ __forceinline__ int prefix_sums(std::int32_t* x, Index n, int lane) {
    int total = 0;
    for (Index first = 0; first < n; first += kWarp) {
        const int mine = first + lane < n ? x[first + lane] : 0;
        const int upto = warp_prefix(mine, lane);
        if (first + lane < n) x[first + lane] = total + upto - mine;
        total += __shfl_sync(0xffffffffu, upto, kWarp - 1);
    }
    return total;
}

__global__ void __launch_bounds__(kWarp)
    sort_begins(EarlierKernels earlier, View<std::int32_t, 1> begin, Index bound, int* overflow) {
    earlier.wait();
    const int lane = static_cast<int>(threadIdx.x);
    const Index E = begin.extent(0) - 1;
    const int rows = prefix_sums(begin.data, E, lane);
    __syncwarp();
    for (Index e = lane; e <= E; e += kWarp)
        begin(e) = static_cast<int>(min(e < E ? Index{begin(e)} : rows, bound));
    if (lane == 0 && rows > bound) *overflow = 1;
}

/// Lanes of the warp that hold the same expert; all lanes call it.
__device__ __forceinline__ unsigned lanes_of(int e, int bits) {
    unsigned same = 0xffffffffu;
    for (int bit = 0; bit < bits; ++bit) {
        const bool set = (e >> bit & 1) != 0;
        const unsigned with = __ballot_sync(0xffffffffu, set);
        same &= set ? with : ~with;
    }
    return same;
}

__global__ void __launch_bounds__(kSortThreads)
    sort_place(EarlierKernels earlier, ExpertSort p, Index chunks, int bits) {
    earlier.wait();
    int* before =
        dynamic_shared<int>();  // [warps, E]: rows of an expert in the warp's part, then where they go
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const Index E = p.experts(), K = p.expert.extent(1), n = p.slots(), bound = p.slot.extent(0);
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    const Index part = kSortItems / warps, first = blockIdx.x * kSortItems + warp * part;
    for (Index i = threadIdx.x; i < warps * E; i += blockDim.x) before[i] = 0;
    __syncthreads();
    for (Index i = first + lane; i < first + part; i += kWarp) {
        const int e = p.expert_of(i);
        if (e >= 0 && e < E) atomicAdd(before + warp * E + e, 1);
    }
    __syncthreads();
    for (Index e = threadIdx.x; e < E; e += blockDim.x) {
        int row = p.room[e * chunks + blockIdx.x];
        for (int w = 0; w < warps; ++w) {
            const int count = before[w * E + e];
            before[w * E + e] = row;
            row += count;
        }
    }
    __syncthreads();
    const Index N = p.begin(E);
    for (Index i = first + lane; i < first + part; i += kWarp) {
        int e = p.expert_of(i);
        if (e >= E) e = -1;
        const unsigned same = lanes_of(e, bits);
        const int rank = __popc(same & ((1u << lane) - 1));
        // Cut rows count as if they were there: an expert past the bound begins and ends at it.
        const Index begin_of_e = e >= 0 ? p.begin(e) : 0, end_of_e = e >= 0 ? p.begin(e + 1) : 0;
        const Index row = e >= 0 ? begin_of_e + before[warp * E + e] + rank : 0;
        __syncwarp();
        if (e >= 0 && rank == 0) before[warp * E + e] += __popc(same);
        __syncwarp();
        const bool placed = e >= 0 && row < end_of_e;
        if (placed) {
            if (p.token.data != nullptr) p.token(row) = static_cast<std::int32_t>(p.token_of(i));
            p.slot(row) = static_cast<std::int32_t>(i);
        }
        if (i < n && p.slot_row.data != nullptr) {
            p.slot_row(p.token_of(i), i - p.token_of(i) * K) = placed ? static_cast<std::int32_t>(row) : -1;
        }
        if (i >= N && i < bound) {
            if (p.token.data != nullptr) p.token(i) = -1;
            p.slot(i) = -1;
        }
    }
}

/// Fills begin, token, slot and slot_row. An expert that does not exist has no row and sets bad_index; rows beyond the
/// bound are left out and set overflow.
inline void sort_by_expert(const char* place, cudaStream_t stream, const ExpertSort& p) {
    const Index E = p.begin.extent(0) - 1, n = p.expert.size(), chunks = sort_chunks(n);
    const auto blocks = dim3(static_cast<unsigned>(chunks));
    const auto counts = static_cast<std::size_t>(E) * sizeof(int);
    int bits = 0;
    while ((Index{1} << bits) <= E) ++bits;  // -1, all bits set, is then no expert
    launch_early(place, sort_count, blocks, dim3(kSortThreads), counts, stream, p, chunks,
                 &status()->bad_index);
    warps(place, stream, E, [=] __device__(Index e, int lane) {
        const int total = prefix_sums(p.room + e * chunks, chunks, lane);
        if (lane == 0) p.begin(e) = total;
    });
    launch_early(place, sort_begins, dim3(1), dim3(kWarp), 0, stream, p.begin, p.slot.extent(0),
                 &status()->overflow);
    const int threads = sort_threads(E);
    launch_early(place, sort_place, blocks, dim3(static_cast<unsigned>(threads)), threads / kWarp * counts,
                 stream, p, chunks, bits);
}

}  // namespace
}  // namespace moegrad::cuda
