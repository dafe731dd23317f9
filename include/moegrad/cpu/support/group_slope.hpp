#pragma once
// The backward of a loss per group of rows (the segments, or all as one) whose forward keeps its slope by every column.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/ops/balance_loss.hpp>

namespace moegrad::cpu {

/// dp(t, c) = dloss(s) slope(s, c) for a token t of group s, 0 for padding.
template <class Real>
void backward_by_slope(Stream stream, View<const Real, 2> slope, View<const std::int32_t, 1> segment,
                       View<const std::uint8_t, 1> valid, View<const Real, 1> dloss, View<Real, 2> dp,
                       Write write, BalanceOptions::Scope scope) {
    const bool sequence = scope == BalanceOptions::Scope::sequence;
    for_rows(stream, dp.extent(0), dp.extent(1), [&](Index t) {
        const Index s = sequence ? segment(t) : 0;
        for (Index c = 0; c < dp.extent(1); ++c) {
            put(dp(t, c), valid(t) != 0 ? dloss(s) * slope(s, c) : Real(0), write);
        }
    });
}

}  // namespace moegrad::cpu
