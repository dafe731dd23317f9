#pragma once
// balanced_assignment: every expert gets the same number of tokens, with a sum of scores near the largest there is
// (BASE layers, Lewis et al. 2021, arXiv 2103.16716; auction: Bertsekas 1979, with identical bidders as one).
//     maximise sum_t score[t, expert(t)],   expert e has N / E of the N valid tokens, one more for e < N mod E
// Rounds, at most kAuctionRounds; eps = max((largest - smallest score) / 50, 1e-4):
//   an expert that misses n tokens bids on its n best by score - price among those it does not hold, each so high that the
//   next best, of value c, would do as well:  bid = score - c + eps
//   a token goes to the highest bid (the lowest expert of equal ones), which becomes its price
// When all tokens have an expert the sum is within N eps of the largest. Tokens left after the last round go, in order, to
// the best expert that has room. Equal values: the lower token. Padding gets kUnused. A score that is not finite is an
// error that names its token. The same result for any number of threads and on every device.
// Not differentiable. A checkpointed segment decides once (autograd/recorded_choice.hpp).
// Saved: nothing.

#include <moegrad/autograd/recorded_choice.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/ops/null_slots.hpp>

namespace moegrad {

inline constexpr Index kAuctionRounds = 100;

/// Tokens of expert e out of n.
MOEGRAD_HD constexpr Index balanced_quota(Index n, Index experts, Index e) {
    return n / experts + (e < n % experts ? 1 : 0);
}
template <class Real>
MOEGRAD_HD constexpr Real auction_step(Real smallest, Real largest) {
    const Real step = (largest - smallest) / Real(50);
    return step > Real(1e-4) ? step : Real(1e-4);
}

/// What one of `blocks` blocks of a GPU keeps, in words of 32 bits, and where each begins. Expert e belongs to block
/// e mod blocks, the tokens 32 w .. 32 w + 31 to block w mod blocks.
struct AuctionLayout {
    Index row;      // T, rounded up to a multiple of 4
    Index tokens;   // of a block, at most: words of tokens times 32
    Index worth;    // [experts of the block, row]   what every token is worth to it
    Index bids;     // [E, tokens] bytes             whether the expert bids on the block's token
    Index level;    // [E]                           of every expert
    Index missing;  // [E]
    Index reach;    // [E]                           how far below its level the next one is expected
    Index words;    // in all, a multiple of 4

    MOEGRAD_HD constexpr AuctionLayout(Index T, Index E, Index blocks)
        : row((T + 3) / 4 * 4),
          tokens(((T + 31) / 32 + blocks - 1) / blocks * 32),
          worth(0),
          bids(worth + (E + blocks - 1) / blocks * row),
          level(bids + E * (tokens / 4)),
          missing(level + E),
          reach(missing + E),
          words((reach + E + 3) / 4 * 4) {}
};
inline constexpr Index kAuctionBlocks = 8;  // at most

/// Working memory. words: of all blocks, for a GPU whose shared memory is too small.
template <class Real>
struct AuctionRoom {
    View<Real, 1> price;          // [T], of the CPU
    View<std::int32_t, 1> words;  // of a GPU
};

template <class Real>
struct BalancedAssignmentKernels {
    void (*assign)(Stream, View<const Real, 2> score, View<const std::uint8_t, 1> valid,
                   View<std::int32_t, 2> choice, AuctionRoom<Real> room);
};

inline constinit KernelSlot<BalancedAssignmentKernels> balanced_assignment_slot{"balanced_assignment",
                                                                                Proof::reference};

/// score [T, E] -> expert of each token [T, 1].
template <class Real>
Tensor<std::int32_t> balanced_assignment(Tape& tape, const Tensor<Real>& score, const Segments& segments) {
    if (score.shape().rank() != 2 || score.extent(0) != segments.tokens() || score.extent(1) < 1) {
        throw Error{ErrorCode::shape, "balanced_assignment", format("score [{}, E]", segments.tokens()),
                    "score " + score.shape().text()};
    }
    const Index T = score.extent(0), E = score.extent(1);
    return recorded_choice(tape, "balanced_assignment", {T, 1}, [&](const Tensor<std::int32_t>& choice) {
        if (T == 0) return;
        const bool gpu = tape.device() == Device::cuda;
        const auto price = tape.make<Real>({gpu ? 0 : T});
        const auto words =
            tape.make<std::int32_t>({gpu ? kAuctionBlocks * AuctionLayout(T, E, kAuctionBlocks).words : 0});
        balanced_assignment_slot.get<Real>(tape.device())
            .assign(tape.stream(), score.template view<2>(), segments.valid.view<1>(), choice.view<2>(),
                    {price.template view<1>(), words.view<1>()});
    });
}

}  // namespace moegrad
