#pragma once
// CPU kernel of ops/route_stats.hpp. One pass over the tokens; whole numbers, so the order cannot matter.

#include <moegrad/core/error.hpp>
#include <moegrad/core/math.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/route_stats.hpp>

namespace moegrad::cpu::route_stats {
namespace {

/// x >= 0 as a whole number of 2^-32. 2^20 is far above any probability or entropy.
inline std::int64_t to_units(double x, Index t) {
    if (!(x >= 0 && x <= 0x1p20)) {
        throw Error{ErrorCode::value, "route_stats", "finite probabilities that are not negative",
                    format("{} for token {}", x, t)};
    }
    return static_cast<std::int64_t>(x * 0x1p32 + 0.5);
}

inline void count_experts(View<const std::int32_t, 2> expert, Index t, const RoutingCounts& stats) {
    Index used = 0, nulls = 0, dropped = 0;
    for (Index k = 0; k < expert.extent(1); ++k) {
        used += expert(t, k) >= 0;
        nulls += expert(t, k) == kNull;
        dropped += expert(t, k) == kDropped;
    }
    ++stats.experts_per_token(used);
    stats.all_null() += used == 0 && dropped == 0 && nulls > 0;
    stats.dropped() += dropped;
}

template <class Real>
void count_probabilities(const Real* p, Index C, Index t, const RoutingCounts& stats) {
    double entropy = 0;
    for (Index c = 0; c < C; ++c) {
        const double value = static_cast<double>(p[c]);
        stats.mass(c) += to_units(value, t);
        if (value > 0) entropy -= value * log(value);
    }
    // A one-hot row may round to just below 0.
    stats.entropy() += to_units(entropy < 0 ? 0.0 : entropy, t);
}

template <class Real>
void count(Stream, View<const std::int32_t, 2> expert, View<const std::int32_t, 2> choice,
           View<const Real, 2> p, View<const std::uint8_t, 1> valid, View<std::int64_t, 1> words) {
    for (Index i = 0; i < words.extent(0); ++i) words(i) = 0;
    const Index C = p.extent(1);
    const RoutingCounts stats{words.data, {C, expert.extent(1)}};
    for (Index t = 0; t < p.extent(0); ++t) {
        if (valid(t) == 0) continue;
        ++stats.tokens();
        count_experts(expert, t, stats);
        for (Index k = 0; k < choice.extent(1); ++k) {
            if (choice(t, k) >= C) {
                throw Error{ErrorCode::value, "route_stats", format("columns below {}", C),
                            format("{} for token {}, slot {}", choice(t, k), t, k)};
            }
            if (choice(t, k) >= 0) ++stats.slots(choice(t, k));
        }
        count_probabilities(p.row(t), C, t, stats);
    }
}

template <class Real>
constexpr RouteStatsKernels<Real> kernels{count<Real>};

}  // namespace
}  // namespace moegrad::cpu::route_stats

MOEGRAD_CPU_SEATS(route_stats)
