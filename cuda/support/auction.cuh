#pragma once
// What the blocks of ops/balanced_assignment.hpp do: survey the scores, bid, sell, give what is left. The picture is in
// balanced_assignment.cuh, who keeps what in AuctionLayout.
//
// The guess: prices only rise, so that levels fall, by less and less. It is below the last level by `reach`, which
// follows the number of keys that it lists. It costs time alone, as do the bins of kNear steps. Values are
// differences and sums of two numbers, so no bit is another than the CPU's.

#include <moegrad/cuda/support/cluster.cuh>
#include <moegrad/cuda/support/select_team.cuh>
#include <moegrad/ops/balanced_assignment.hpp>

namespace moegrad::cuda::balanced_assignment {
namespace {

inline constexpr int kAuctionThreads = kWarp * kTeamWarps;
inline constexpr int kScores = 8;  // of a token that a thread reads before it uses the first
inline constexpr float kNear = 4;  // steps below the last level: where the bins are

__device__ __forceinline__ int block_count(int mine) {
    __shared__ int all;
    if (threadIdx.x == 0) all = 0;
    __syncthreads();
    mine = lanes_sum(mine);
    if (threadIdx.x % kWarp == 0) atomicAdd(&all, mine);
    __syncthreads();
    return all;
}

struct Scores {
    View<const float, 2> score;
    View<const std::uint8_t, 1> valid;
    View<std::int32_t, 2> holder;  // [T, 1]

    __device__ int tokens() const { return static_cast<int>(score.extent(0)); }
    __device__ int experts() const { return static_cast<int>(score.extent(1)); }

    /// s[k] = score(t, first + k), 0 behind the last expert.
    __device__ void read(int t, int first, float (&s)[kScores]) const {
#pragma unroll
        for (int k = 0; k < kScores; ++k) s[k] = first + k < experts() ? score(t, first + k) : 0;
    }
};

/// Of all scores of valid tokens; the same in every thread of every block.
struct Market {
    int N = 0;                      // valid tokens,
    int quota = 0, with_extra = 0;  // so many an expert, one more for the first
    float smallest = 0, largest = 0, step = 0;
};

__device__ __forceinline__ Market survey(const Scores& of, int* not_finite) {
    int N = 0;
    float largest = -INFINITY, negated = -INFINITY;
    bool finite = true;
    for (int t = static_cast<int>(threadIdx.x); t < of.tokens(); t += kAuctionThreads) {
        if (of.valid(t) == 0) continue;
        ++N;
#pragma unroll 8
        for (int e = 0; e < of.experts(); ++e) {
            const float s = of.score(t, e);
            finite &= s - s == 0;
            largest = fmaxf(largest, s);
            negated = fmaxf(negated, -s);
        }
    }
    if (!finite) *not_finite = 1;
    Market market;
    market.smallest = -block_max(negated);
    market.largest = block_max(largest);
    market.step = auction_step(market.smallest, market.largest);
    market.N = block_count(N);
    market.quota = market.N / of.experts();
    market.with_extra = market.N % of.experts();
    return market;
}

/// Shared: whether the blocks keep what they have in shared memory.
template <int Blocks, bool Shared>
class Auction {
public:
    __device__ Auction(const Scores& of, const AuctionLayout& layout, std::uint32_t* room, int* not_finite)
        : of_(of),
          layout_(layout),
          rank_(block_of_cluster<Blocks>()),
          room_(room),
          own_(Shared ? dynamic_shared<std::uint32_t>() : room + rank_ * layout.words),
          own_experts_((of.experts() - rank_ + Blocks - 1) / Blocks),
          market_(survey(of, not_finite)) {
        set_up();
    }

    /// Without the last step: -> whether everybody has got an expert.
    __device__ bool run() const {
        const SelectTeam team(own_experts_);
        clear_notes(team);
        cluster_barrier<Blocks>();
        // A round more than there are bids: it only counts what is missing.
        float near = market_.largest - market_.smallest;
        for (int round = 0;; ++round) {
            for (int first = 0; first < own_experts_; first += team.count) {
                bid(team, first + team.place, near);
                if (first + team.count < own_experts_) __syncthreads();
            }
            cluster_barrier<Blocks>();
            if (!any_missing()) return true;
            if (round == kAuctionRounds) return false;
            sell();
            near = kNear * market_.step;
            cluster_barrier<Blocks>();
        }
    }

    /// By a warp of one block: what is left, token after token.
    __device__ void give_rest(int lane) const {
        constexpr int kAtOnce = 8;
        for (int first = 0; first < of_.tokens(); first += kAtOnce * kWarp) {
            bool mine[kAtOnce];  // all are read before the first vote
#pragma unroll
            for (int k = 0; k < kAtOnce; ++k) {
                const int t = min(first + k * kWarp + lane, of_.tokens() - 1);
                mine[k] = (of_.valid(t) != 0) & (of_.holder(t, 0) < 0);
            }
            unsigned open = 0;  // lane k: tokens first + 32 k ..
#pragma unroll
            for (int k = 0; k < kAtOnce; ++k) {
                const bool there = first + k * kWarp + lane < of_.tokens();
                const unsigned all = __ballot_sync(0xffffffffu, mine[k] && there);
                if (lane == k) open = all;
            }
#pragma unroll 1
            for (int k = 0; k < kAtOnce; ++k) {
                unsigned tokens = __shfl_sync(0xffffffffu, open, k);
                for (; tokens != 0; tokens &= tokens - 1)
                    give(lane, first + k * kWarp + __ffs(static_cast<int>(tokens)) - 1);
            }
        }
    }

private:
    /// What block `rank` has at `offset`.
    __device__ std::uint32_t* at(int rank, Index offset) const {
        if constexpr (Shared) return in_block<Blocks>(own_ + offset, rank);
        return room_ + rank * layout_.words + offset;
    }
    __device__ std::uint32_t& level(int e) const {
        return own_[layout_.level + e];
    }
    __device__ std::uint32_t& missing(int e) const {
        return own_[layout_.missing + e];
    }
    __device__ float& reach(int e) const {
        return reinterpret_cast<float*>(own_)[layout_.reach + e];
    }
    /// Of the block's expert at `place`.
    __device__ Index worth(int place) const {
        return layout_.worth + place * layout_.row;
    }
    /// Of the block's token at `place`: whether expert e bids on it.
    __device__ std::uint8_t& bid_on(std::uint32_t* block, int e, int place) const {
        return reinterpret_cast<std::uint8_t*>(block + layout_.bids)[e * layout_.tokens + place];
    }
    /// The block's token at `place`, and back.
    __device__ int token(int place) const {
        return (place / kWarp * Blocks + rank_) * kWarp + place % kWarp;
    }
    __device__ static int place_of(int t) {
        return t / (kWarp * Blocks) * kWarp + t % kWarp;
    }
    __device__ static int block_of(int t) {
        return t / kWarp % Blocks;
    }

    /// Nobody holds anything.
    __device__ void set_up() const {
        const int thread = static_cast<int>(threadIdx.x), T = of_.tokens();
        for (int e = thread; e < of_.experts(); e += kAuctionThreads) {
            level(e) = score_order(market_.largest);
            reach(e) = market_.step / 4;
        }
        for (int place = 0; place < own_experts_; ++place) {
            std::uint32_t* const row = own_ + worth(place);
            for (int t = thread; t < layout_.row; t += kAuctionThreads)
                row[t] = t < T && of_.valid(t) != 0 ? score_order(of_.score(t, place * Blocks + rank_)) : 0;
        }
        for (int place = thread; place < layout_.tokens; place += kAuctionThreads) {
            if (token(place) < T) of_.holder(token(place), 0) = kUnused;
            for (int e = 0; e < of_.experts(); ++e) bid_on(own_, e, place) = 0;
        }
    }

    /// By a team: the bids of the block's expert at `place`, told to the blocks.
    __device__ void bid(const SelectTeam& team, int place, float near) const {
        const bool busy = team.place < team.count && place < own_experts_;
        const int e = (busy ? place : 0) * Blocks + rank_, n = busy ? of_.tokens() : 0;
        // It has all but `others`.
        const int first_missing = market_.quota + (e < market_.with_extra ? 1 : 0) - market_.N;
        const std::uint32_t* const row = own_ + worth(busy ? place : 0);
        const auto top = [this, e] { return score_of(level(e)); };
        const Best best = select_best(
            team, row, n, score_order(top() - reach(e)), [=] { return BinScale(top() - near, near); },
            [=](int others) {
                const int wanted = first_missing + others;
                return busy && wanted > 0 ? min(wanted + 1, others) : 0;
            });
        const int wanted = first_missing + best.there;
        if (!busy) return;
        if (team.lane < Blocks) {
            *at(team.lane, layout_.missing + e) = static_cast<std::uint32_t>(wanted);
            if (wanted > 0) *at(team.lane, layout_.level + e) = order_in(best.cut);
        }
        if (wanted <= 0) return;
        if (team.lane == 0) reach(e) = next_reach(reach(e), best.listed, wanted);
        best.each_above(wanted < best.there ? best.cut : best.cut - 1, team, row, n,
                        [&](int t) { bid_on(at(block_of(t), 0), e, place_of(t)) = 1; });
    }

    /// So that it lists about twice as many as are wanted, and leaves room in the list.
    __device__ float next_reach(float reach, int listed, int wanted) const {
        const auto aim = static_cast<float>(min(2 * wanted + 20, kListed / 2));
        const float change = aim / static_cast<float>(max(listed, 1));
        return fminf(fmaxf(reach * fminf(fmaxf(change, 0.25f), 2.0f), market_.step / 1024),
                     kNear * market_.step);
    }

    __device__ bool any_missing() const {
        bool any = false;
        for (int e = static_cast<int>(threadIdx.x) % kWarp; e < of_.experts(); e += kWarp)
            any |= missing(e) != 0;
        return __any_sync(0xffffffffu, any) != 0;
    }

    /// By the block: its tokens.
    __device__ void sell() const {
        for (int place = static_cast<int>(threadIdx.x); place < layout_.tokens; place += kAuctionThreads) {
            unsigned any = 0;
#pragma unroll 8
            for (int e = 0; e < of_.experts(); ++e) any |= bid_on(own_, e, place);
            if (any != 0) sell(place);
        }
    }

    /// By a thread: a token that somebody bids on.
    __device__ void sell(int place) const {
        const int t = token(place), E = of_.experts();
        float price = -INFINITY, s[kScores];
        int buyer = -1;
        for (int first = 0; first < E; first += kScores) {
            of_.read(t, first, s);
#pragma unroll
            for (int k = 0; k < kScores; ++k) {
                const int e = first + k;
                if (e >= E || bid_on(own_, e, place) == 0) continue;
                bid_on(own_, e, place) = 0;
                const float offer = s[k] - score_of(level(e)) + market_.step;
                if (offer > price) price = offer, buyer = e;
            }
        }
        if (buyer < 0) return;
        of_.holder(t, 0) = buyer;
        for (int first = 0; first < E; first += kScores) {
            if (E > kScores) of_.read(t, first, s);
#pragma unroll
            for (int k = 0; k < kScores; ++k) {
                const int e = first + k;
                if (e < E)
                    *at(e % Blocks, worth(e / Blocks) + t) = e == buyer ? 0 : score_order(s[k] - price);
            }
        }
    }

    /// To the best expert that has room. By a warp.
    __device__ void give(int lane, int t) const {
        Key best = 0;
        for (int e = lane; e < of_.experts(); e += kWarp)
            if (missing(e) > 0) best = max(best, order_of(of_.score(t, e), e));
        best = team_max(Team{lane, kWarp}, best);
        if (lane == 0 && best != 0) {
            of_.holder(t, 0) = column_of(best);
            --missing(column_of(best));
        }
        __syncwarp();
    }

    Scores of_;
    AuctionLayout layout_;
    int rank_;             // of the block
    std::uint32_t* room_;  // of all blocks, where not Shared
    std::uint32_t* own_;   // of this one
    int own_experts_;
    Market market_;
};

}  // namespace
}  // namespace moegrad::cuda::balanced_assignment
