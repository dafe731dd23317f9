#pragma once
// Jitter of a router's input, in training:   x[t,d] u[t,d],   u uniform in (1 - amount, 1 + amount)
// Only the router sees it; the experts get x. Switch Transformers, Fedus et al. 2021.

#include <moegrad/ops/cast.hpp>
#include <moegrad/ops/jitter.hpp>
#include <moegrad/routing/router.hpp>

namespace moegrad {

/// x itself when the amount is lost beside 1 or nothing trains.
template <class Real>
Var<Real> jittered(Tape& tape, const RouteInput<Real>& input, double amount, std::uint64_t seed) {
    const DrawKey key = DrawKey::of(tape, seed, input.module);
    const double low = 1 - amount, high = 1 + amount;
    if (!(low < high) || !key.by_step) return input.x;
    if constexpr (std::is_same_v<Real, Wide<bf16>>) {
        if (const auto* narrow = before_cast<bf16>(input.x))
            return moegrad::jitter(tape, *narrow, input.segments, amount, key);
    }
    return moegrad::jitter(tape, input.x, input.segments, amount, key);
}

/// Throws for an amount that could turn an input round.
inline double checked_jitter(double amount) {
    if (amount >= 0 && amount < 1) return amount;
    throw Error{ErrorCode::config, "router.options: jitter", "0 to below 1", format("{}", amount)};
}

}  // namespace moegrad
