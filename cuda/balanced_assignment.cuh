#pragma once
// CUDA kernel of ops/balanced_assignment.hpp: the auction of cpu/balanced_assignment.hpp in one block. A round:
//     threads for tokens   what every token is worth to every expert, as orders [E, T]
//     warps for experts    what each bids on (select_team.cuh)
//     threads for tokens   who gets it
// Values are differences and sums of two numbers, so no bit is another than the CPU's. A score that is not finite, which the
// CPU refuses, sets status()->not_finite; the rounds end all the same.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/select_team.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/balanced_assignment.hpp>

namespace moegrad::cuda::balanced_assignment {
namespace {

inline constexpr int kAuctionThreads = kWarp * kSelectWarps;

struct Auction {
    View<const float, 2> score;
    View<const std::uint8_t, 1> valid;
    View<std::int32_t, 2> holder;  // [T, 1]
    View<float, 1> price;
    View<std::int32_t, 2> expert;  // [4, E]
    View<std::int32_t, 2>
        orders;  // [E, T]: score_order of score - price; 0 for what the expert cannot bid on

    __device__ Index tokens() const { return score.extent(0); }
    __device__ Index experts() const { return score.extent(1); }
    /// Tokens that expert e still wants.
    __device__ std::int32_t& missing(Index e) const { return expert(0, e); }
    /// The value of its next best token, and the last token of that value that it bids on.
    __device__ std::int32_t& level(Index e) const { return expert(1, e); }
    __device__ std::int32_t& last(Index e) const { return expert(2, e); }

    /// Tokens that expert e holds.
    __device__ std::int32_t& held(Index e) const { return expert(3, e); }

    __device__ std::uint32_t order(Index t, Index e) const {
        return static_cast<std::uint32_t>(orders(e, t));
    }
    __device__ bool bids(Index t, Index e) const {
        const std::uint32_t mine = missing(e) > 0 ? order(t, e) : 0;
        return mine != 0 && Cut{static_cast<std::uint32_t>(level(e)), last(e)}.takes(mine, t);
    }

    /// By the block.
    __device__ void value_tokens() const {
        for (Index e = threadIdx.x; e < experts(); e += kAuctionThreads) held(e) = 0;
        __syncthreads();
        for (Index t = threadIdx.x; t < tokens(); t += kAuctionThreads) {
            const std::int32_t owner = holder(t, 0);
            const bool there = valid(t) != 0;
            if (there && owner >= 0) atomicAdd(&held(owner), 1);
            for (Index e = 0; e < experts(); ++e) {
                const bool open = there && owner != e;
                orders(e, t) = open ? static_cast<std::int32_t>(score_order(score(t, e) - price(t))) : 0;
            }
        }
        __syncthreads();
    }

    /// By the block, a team of warps an expert, as many experts at a time as there are teams. N: valid tokens.
    __device__ void bid(Index N) const {
        const SelectTeam team(experts());
        for (Index first = 0; first < experts(); first += team.count) {
            const Index e = first + team.place;
            const bool busy = team.place < team.count && e < experts();
            const Index wanted = busy ? balanced_quota(N, experts(), e) - held(e) : 0,
                        others = busy ? N - held(e) : 0;
            const Index rank = wanted > 0 ? min(wanted + 1, others) : 0;
            const Cut cut = select_best(team, tokens(), rank, [this, e](Index t) { return order(t, e); });
            if (busy && team.lane == 0) {
                missing(e) = static_cast<std::int32_t>(wanted);
                level(e) = static_cast<std::int32_t>(cut.order);
                last(e) = static_cast<std::int32_t>(wanted >= others ? cut.last : cut.last - 1);
            }
            __syncthreads();
        }
    }

    /// By one thread; whether somebody holds the token afterwards.
    __device__ bool sell(Index t, float step) const {
        float best = -INFINITY;
        Index buyer = -1;
        for (Index e = 0; e < experts(); ++e) {
            if (!bids(t, e)) continue;
            const float offer = score(t, e) - score_of(static_cast<std::uint32_t>(level(e))) + step;
            if (!(offer > best)) continue;
            best = offer;
            buyer = e;
        }
        if (buyer >= 0) {
            holder(t, 0) = static_cast<std::int32_t>(buyer);
            price(t) = best;
        }
        return holder(t, 0) >= 0;
    }

    /// By one warp, token after token.
    __device__ void give_rest(int lane) const {
        const Team team{lane, kWarp};
        for (Index t = 0; t < tokens(); ++t) {
            if (valid(t) == 0 || holder(t, 0) >= 0) continue;
            unsigned long long best = 0;
            for (Index e = lane; e < experts(); e += kWarp) {
                const unsigned long long mine = missing(e) > 0 ? order_of(score(t, e), e) : 0;
                best = mine > best ? mine : best;
            }
            best = team_max(team, best);
            if (lane == 0 && best != 0) {
                holder(t, 0) = column_of(best);
                --missing(column_of(best));
            }
            __syncwarp();
        }
    }
};

__device__ __forceinline__ int block_count(int mine) {
    __shared__ int all;
    if (threadIdx.x == 0) all = 0;
    __syncthreads();
    mine = lanes_sum(mine);
    if (threadIdx.x % kWarp == 0) atomicAdd(&all, mine);
    __syncthreads();
    const int count = all;
    __syncthreads();
    return count;
}

/// Nobody holds anything; -> valid tokens and the step of the bids.
__device__ __forceinline__ Index start(const Auction& auction, int* not_finite, float& step) {
    int N = 0;
    float largest = -INFINITY, negated = -INFINITY;
    for (Index t = threadIdx.x; t < auction.tokens(); t += kAuctionThreads) {
        auction.holder(t, 0) = kUnused;
        auction.price(t) = 0;
        if (auction.valid(t) == 0) continue;
        ++N;
        for (Index e = 0; e < auction.experts(); ++e) {
            const float s = auction.score(t, e);
            if (!(s - s == 0)) *not_finite = 1;
            largest = fmaxf(largest, s);
            negated = fmaxf(negated, -s);
        }
    }
    const float smallest = -block_max(negated);
    step = auction_step(smallest, block_max(largest));
    return block_count(N);
}

__global__ void __launch_bounds__(kAuctionThreads) auction_kernel(Auction auction, int* not_finite) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    float step = 0;
    const Index N = start(auction, not_finite, step);
    // A round more than there are bids: it only counts what is missing.
    for (Index round = 0; round <= kAuctionRounds; ++round) {
        auction.value_tokens();
        auction.bid(N);
        if (round == kAuctionRounds) break;
        int held = 0;
        for (Index t = threadIdx.x; t < auction.tokens(); t += kAuctionThreads)
            held += auction.valid(t) != 0 && auction.sell(t, step);
        if (block_count(held) == N) return;
    }
    if (warp == 0) auction.give_rest(lane);
}

inline void assign(Stream stream, View<const float, 2> score, View<const std::uint8_t, 1> valid,
                   View<std::int32_t, 2> choice, AuctionRoom<float> room) {
    const Auction auction{score, valid, choice, room.price, room.expert, room.order};
    launch("balanced_assignment", auction_kernel, dim3(1), dim3(kAuctionThreads), 0, cuda_stream(stream),
           auction, &status()->not_finite);
}

template <class Real>
constexpr BalancedAssignmentKernels<Real> kernels{assign};

}  // namespace
}  // namespace moegrad::cuda::balanced_assignment

MOEGRAD_CUDA_FLOAT_SEAT(balanced_assignment)
