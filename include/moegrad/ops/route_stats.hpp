#pragma once
// route_stats: what a router did with a batch, counted over its valid tokens.
// Probabilities and entropies are added as whole numbers of 2^-32, so that the sums are exact in any order:
// batches may be cut and merged freely and the totals keep their bits.
// The tensors stay on the device until somebody reads them; RoutingTotals is the host's side.
// Saved: nothing.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/core/transfer.hpp>
#include <moegrad/ops/null_slots.hpp>

#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace moegrad {

/// Of routers with C columns and K slots: where each number lies in one block of `count` words.
struct RoutingWords {
    Index C, K;

    MOEGRAD_HD constexpr Index tokens() const { return 0; }
    MOEGRAD_HD constexpr Index entropy() const { return 1; }
    MOEGRAD_HD constexpr Index all_null() const { return 2; }
    MOEGRAD_HD constexpr Index dropped() const { return 3; }
    MOEGRAD_HD constexpr Index slots() const { return 4; }
    MOEGRAD_HD constexpr Index mass() const { return 4 + C; }
    MOEGRAD_HD constexpr Index experts_per_token() const { return 4 + 2 * C; }
    MOEGRAD_HD constexpr Index count() const { return 5 + 2 * C + K; }
};

/// The words of a batch, for kernels.
struct RoutingCounts {
    std::int64_t* words;
    RoutingWords at;

    MOEGRAD_HD std::int64_t& tokens() const { return words[at.tokens()]; }
    MOEGRAD_HD std::int64_t& entropy() const { return words[at.entropy()]; }
    MOEGRAD_HD std::int64_t& all_null() const { return words[at.all_null()]; }
    MOEGRAD_HD std::int64_t& dropped() const { return words[at.dropped()]; }
    MOEGRAD_HD std::int64_t& slots(Index c) const { return words[at.slots() + c]; }
    MOEGRAD_HD std::int64_t& mass(Index c) const { return words[at.mass() + c]; }
    MOEGRAD_HD std::int64_t& experts_per_token(Index n) const { return words[at.experts_per_token() + n]; }
};

/// One batch. `mass` and `entropy` count in units of 2^-32.
struct RoutingStats {
    Tensor<std::int64_t> words;              // [count]  all that follow, in one block
    Tensor<std::int64_t> tokens;             // [1]      valid tokens
    Tensor<std::int64_t> slots;              // [C]      slots that chose a column (true experts, then nulls)
    Tensor<std::int64_t> mass;               // [C]      sum of p[t,c]
    Tensor<std::int64_t> entropy;            // [1]      sum of -sum_c p log p, in nats
    Tensor<std::int64_t> experts_per_token;  // [K + 1]  tokens with 0, 1, .. K true experts
    Tensor<std::int64_t> all_null;           // [1]      tokens with nulls and nothing else
    Tensor<std::int64_t> dropped;            // [1]      dropped slots
    // [T, C]  outside training, of routers in float: the probabilities, for whoever looks at tokens one by one.
    Tensor<float> probability;

    RoutingStats() = default;
    RoutingStats(const Tensor<std::int64_t>& block, const RoutingWords& at) : words(block) {
        const auto part = [&](Index begin, Index n) { return words.rows(begin, begin + n); };
        tokens = part(at.tokens(), 1);
        slots = part(at.slots(), at.C);
        mass = part(at.mass(), at.C);
        entropy = part(at.entropy(), 1);
        experts_per_token = part(at.experts_per_token(), at.K + 1);
        all_null = part(at.all_null(), 1);
        dropped = part(at.dropped(), 1);
    }

    bool defined() const { return words.defined(); }
};

/// The same on the host; one copy, which waits for the device.
inline RoutingStats host(const RoutingStats& stats) {
    return {host(stats.words), {stats.slots.extent(0), stats.experts_per_token.extent(0) - 1}};
}

template <class Real>
struct RouteStatsKernels {
    /// words: as RoutingWords{C, K} says.
    void (*count)(Stream, View<const std::int32_t, 2> expert, View<const std::int32_t, 2> choice,
                  View<const Real, 2> p, View<const std::uint8_t, 1> valid, View<std::int64_t, 1> words);
};

inline constinit KernelSlot<RouteStatsKernels> route_stats_slot{"route_stats", Proof::reference};

/// expert [T, K] true experts, kUnused, kNull or kDropped; choice [T, K] columns of p (negative: unused);
/// p [T, C] probabilities.
template <class Real>
RoutingStats route_stats(Tape& tape, const Tensor<std::int32_t>& expert, const Tensor<std::int32_t>& choice,
                         const Tensor<Real>& p, const Segments& segments) {
    if (p.shape().rank() != 2 || choice.shape().rank() != 2 || expert.shape().rank() != 2 ||
        p.extent(0) != choice.extent(0) || p.extent(0) != expert.extent(0) ||
        p.extent(0) != segments.tokens()) {
        throw Error{ErrorCode::shape, "route_stats",
                    "expert [T, K], choice [T, K], p [T, C] and segments of T tokens",
                    format("expert {}, choice {}, p {}, segments of {}", expert.shape().text(),
                           choice.shape().text(), p.shape().text(), segments.tokens())};
    }
    const RoutingWords at{p.extent(1), expert.extent(1)};
    RoutingStats stats(tape.make<std::int64_t>({at.count()}), at);
    route_stats_slot.get<Real>(tape.device())
        .count(tape.stream(), expert.view<2>(), choice.view<2>(), p.template view<2>(),
               segments.valid.view<1>(), stats.words.view<1>());
    if constexpr (std::is_same_v<Real, float>) {
        if (tape.mode() == Mode::inference) stats.probability = p;
    }
    return stats;
}

/// The sum of batches, on the host.
class RoutingTotals {
public:
    /// Waits where the batch lies on a GPU.
    void add(const RoutingStats& stats) {
        const auto words = host(stats.words);
        add(words.values(), {stats.slots.extent(0), stats.experts_per_token.extent(0) - 1});
    }
    /// Words on the host, as `at` says.
    void add(std::span<const std::int64_t> words, const RoutingWords& at) {
        const auto part = [&](Index begin, Index n) {
            return words.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(n));
        };
        tokens_ += part(at.tokens(), 1)[0];
        entropy_ += part(at.entropy(), 1)[0];
        all_null_ += part(at.all_null(), 1)[0];
        dropped_ += part(at.dropped(), 1)[0];
        merge(slots_, part(at.slots(), at.C));
        merge(mass_, part(at.mass(), at.C));
        merge(experts_per_token_, part(at.experts_per_token(), at.K + 1));
    }

    std::int64_t tokens() const { return tokens_; }
    std::int64_t all_null_tokens() const { return all_null_; }
    std::int64_t dropped_slots() const { return dropped_; }
    const std::vector<std::int64_t>& slots() const { return slots_; }
    const std::vector<std::int64_t>& experts_per_token() const { return experts_per_token_; }

    /// Mean number of true experts per token.
    double load() const {
        std::int64_t used = 0;
        for (std::size_t n = 0; n < experts_per_token_.size(); ++n) {
            used += static_cast<std::int64_t>(n) * experts_per_token_[n];
        }
        return per_token(static_cast<double>(used));
    }
    double all_null_share() const { return per_token(static_cast<double>(all_null_)); }
    /// Mean entropy of the probabilities, in nats.
    double entropy() const { return per_token(std::ldexp(static_cast<double>(entropy_), -32)); }
    /// Mean probability of a column.
    double probability(std::size_t column) const {
        return per_token(std::ldexp(static_cast<double>(mass_.at(column)), -32));
    }

private:
    double per_token(double sum) const { return tokens_ == 0 ? 0 : sum / static_cast<double>(tokens_); }
    static void merge(std::vector<std::int64_t>& total, std::span<const std::int64_t> values) {
        if (total.size() < values.size()) total.resize(values.size());
        for (std::size_t i = 0; i < values.size(); ++i) total[i] += values[i];
    }

    std::int64_t tokens_ = 0, entropy_ = 0, all_null_ = 0, dropped_ = 0;
    std::vector<std::int64_t> slots_, mass_, experts_per_token_;
};

}  // namespace moegrad
