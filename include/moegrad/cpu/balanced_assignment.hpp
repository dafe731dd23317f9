#pragma once
// CPU kernel of ops/balanced_assignment.hpp. Experts bid independently; tokens choose in the order of the experts.

#include <limits>
#include <utility>

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/cpu/support/select_best.hpp>
#include <moegrad/ops/balanced_assignment.hpp>

namespace moegrad::cpu::balanced_assignment {
namespace {

template <class Real>
class Auction {
public:
    Auction(View<const Real, 2> score, View<const std::uint8_t, 1> valid, View<std::int32_t, 2> holder,
            View<Real, 1> price)
        : score_(score), holder_(holder), price_(price), bids_(static_cast<std::size_t>(score.extent(1))) {
        for (Index t = 0; t < score.extent(0); ++t) {
            holder_(t, 0) = kUnused;
            price_(t) = Real(0);
            if (valid(t) != 0) tokens_.push_back(t);
        }
        const Index N = static_cast<Index>(tokens_.size());
        for (Index e = 0; e < score.extent(1); ++e) missing_.push_back(balanced_quota(N, score.extent(1), e));
        open_ = N;
    }

    void run(Stream stream) {
        if (tokens_.empty()) return;
        find_step();
        for (Index round = 0; round < kAuctionRounds && open_ > 0; ++round) {
            stream.pool().parallel_for(score_.extent(1), [&](Index e) { bid(e); });
            sell();
        }
        for (const Index t : tokens_) {
            if (holder_(t, 0) < 0) give_to_best_left(t);
        }
    }

private:
    static constexpr Real kNoOffer = -std::numeric_limits<Real>::infinity();

    struct Bids {
        std::vector<Index> tokens;  // the first `count` of them
        Index count = 0;
        Real level = 0;  // value of the next best
    };

    void find_step() {
        Real smallest = score_(tokens_.front(), 0), largest = smallest;
        for (const Index t : tokens_) {
            for (Index e = 0; e < score_.extent(1); ++e) {
                const Real s = score_(t, e);
                if (!(s - s == Real(0))) {
                    throw Error{ErrorCode::value, "balanced_assignment", "scores that are finite numbers",
                                format("{} for token {}, column {}", static_cast<double>(s), t, e),
                                "the router's input or weight is not finite; look at the layers before it"};
                }
                smallest = std::min(smallest, s);
                largest = std::max(largest, s);
            }
        }
        step_ = auction_step(smallest, largest);
    }

    void bid(Index e) {
        Bids& bids = bids_[static_cast<std::size_t>(e)];
        bids.tokens.clear();
        bids.count = missing_[static_cast<std::size_t>(e)];
        if (bids.count == 0) return;
        for (const Index t : tokens_) {
            if (holder_(t, 0) != e) bids.tokens.push_back(t);
        }
        const auto value = [&](Index t) { return score_(t, e) - price_(t); };
        const Index next = std::min(bids.count + 1, static_cast<Index>(bids.tokens.size()));
        select_best(bids.tokens, next, value);
        bids.level = value(bids.tokens[static_cast<std::size_t>(next - 1)]);
    }

    void sell() {
        offer_.assign(static_cast<std::size_t>(score_.extent(0)), {kNoOffer, -1});
        for (Index e = 0; e < score_.extent(1); ++e) {
            const Bids& bids = bids_[static_cast<std::size_t>(e)];
            for (Index i = 0; i < bids.count; ++i) {
                const Index t = bids.tokens[static_cast<std::size_t>(i)];
                const Real offer = score_(t, e) - bids.level + step_;
                auto& best = offer_[static_cast<std::size_t>(t)];
                if (offer > best.first) best = {offer, e};
            }
        }
        for (const Index t : tokens_) settle(t, offer_[static_cast<std::size_t>(t)]);
    }

    void settle(Index t, const std::pair<Real, Index>& offer) {
        const auto& [price, e] = offer;
        if (e < 0) return;
        const std::int32_t before = holder_(t, 0);
        before < 0 ? --open_ : ++missing_[static_cast<std::size_t>(before)];
        --missing_[static_cast<std::size_t>(e)];
        holder_(t, 0) = static_cast<std::int32_t>(e);
        price_(t) = price;
    }

    void give_to_best_left(Index t) {
        Index best = -1;
        for (Index e = 0; e < score_.extent(1); ++e) {
            if (missing_[static_cast<std::size_t>(e)] == 0) continue;
            if (best < 0 || score_(t, e) > score_(t, best)) best = e;
        }
        holder_(t, 0) = static_cast<std::int32_t>(best);
        --missing_[static_cast<std::size_t>(best)];
    }

    View<const Real, 2> score_;
    View<std::int32_t, 2> holder_;               // [T, 1]
    View<Real, 1> price_;                        // [T]
    std::vector<Index> tokens_;                  // the valid ones
    std::vector<Index> missing_;                 // [E]
    std::vector<Bids> bids_;                     // [E]
    std::vector<std::pair<Real, Index>> offer_;  // [T]  the highest of this round, and whose; -1: nobody's
    Index open_ = 0;                             // tokens nobody holds
    Real step_ = 0;
};

template <class Real>
void assign(Stream stream, View<const Real, 2> score, View<const std::uint8_t, 1> valid,
            View<std::int32_t, 2> choice, AuctionRoom<Real> room) {
    Auction<Real>(score, valid, choice, room.price).run(stream);
}

template <class Real>
constexpr BalancedAssignmentKernels<Real> kernels{assign<Real>};

}  // namespace
}  // namespace moegrad::cpu::balanced_assignment

MOEGRAD_CPU_SEATS(balanced_assignment)
