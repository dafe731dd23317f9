#pragma once
// route_stats: what a router did with a batch, counted over its valid tokens.
// Probabilities and entropies are added as whole numbers of 2^-32, so that the sums are exact in any order:
// batches may be cut and merged freely and the totals keep their bits.
// The tensors stay on the device until somebody reads them; RoutingTotals is the host's side.
// Saved: nothing.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/ops/null_slots.hpp>

#include <cmath>
#include <cstdint>
#include <vector>

namespace moegrad {

/// One batch. `mass` and `entropy` count in units of 2^-32.
struct RoutingStats {
    Tensor<std::int64_t> tokens;             // [1]      valid tokens
    Tensor<std::int64_t> slots;              // [C]      slots that chose a column (true experts, then nulls)
    Tensor<std::int64_t> mass;               // [C]      sum of p[t,c]
    Tensor<std::int64_t> entropy;            // [1]      sum of -sum_c p log p, in nats
    Tensor<std::int64_t> experts_per_token;  // [K + 1]  tokens with 0, 1, .. K true experts
    Tensor<std::int64_t> all_null;           // [1]      tokens with nulls and nothing else
    Tensor<std::int64_t> dropped;            // [1]      dropped slots

    bool defined() const { return tokens.defined(); }
};

struct RoutingStatsView {
    View<std::int64_t, 1> tokens, slots, mass, entropy, experts_per_token, all_null, dropped;
};

template <class Real>
struct RouteStatsKernels {
    void (*count)(Stream, View<const std::int32_t, 2> expert, View<const std::int32_t, 2> choice,
                  View<const Real, 2> p, View<const std::uint8_t, 1> valid, RoutingStatsView);
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
    const auto make = [&](Index n) { return tape.make<std::int64_t>({n}); };
    const Index C = p.extent(1);
    const RoutingStats stats{make(1), make(C), make(C), make(1), make(expert.extent(1) + 1),
                             make(1), make(1)};
    route_stats_slot.get<Real>(tape.device())
        .count(tape.stream(), expert.view<2>(), choice.view<2>(), p.template view<2>(),
               segments.valid.view<1>(),
               {stats.tokens.view<1>(), stats.slots.view<1>(), stats.mass.view<1>(), stats.entropy.view<1>(),
                stats.experts_per_token.view<1>(), stats.all_null.view<1>(), stats.dropped.view<1>()});
    return stats;
}

/// The sum of batches, on the host.
class RoutingTotals {
public:
    void add(const RoutingStats& batch) {
        tokens_ += batch.tokens.data()[0];
        entropy_ += batch.entropy.data()[0];
        all_null_ += batch.all_null.data()[0];
        dropped_ += batch.dropped.data()[0];
        merge(slots_, batch.slots);
        merge(mass_, batch.mass);
        merge(experts_per_token_, batch.experts_per_token);
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
    static void merge(std::vector<std::int64_t>& total, const Tensor<std::int64_t>& batch) {
        const auto values = batch.values();
        if (total.size() < values.size()) total.resize(values.size());
        for (std::size_t i = 0; i < values.size(); ++i) total[i] += values[i];
    }

    std::int64_t tokens_ = 0, entropy_ = 0, all_null_ = 0, dropped_ = 0;
    std::vector<std::int64_t> slots_, mass_, experts_per_token_;
};

}  // namespace moegrad
