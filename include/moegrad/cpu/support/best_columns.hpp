#pragma once
// The best columns of a row of scores, for the CPU kernels that choose.

#include <cstdint>

#include <moegrad/core/error.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad::cpu {

/// best[0 .. K): columns of the K highest scores. Columns come in ascending order: a new one goes behind its
/// equals.
template <class Real>
void best_columns(const Real* scores, Index E, std::int32_t* best, Index K) {
    for (Index e = 0; e < E; ++e) {
        Index place = e < K ? e : K;
        while (place > 0 && scores[e] > scores[best[place - 1]]) --place;
        if (place == K) continue;
        for (Index k = e < K ? e : K - 1; k > place; --k) best[k] = best[k - 1];
        best[place] = static_cast<std::int32_t>(e);
    }
}

/// Throws for a NaN among the scores of token t. op: its name in errors.
template <class Real>
void require_numbers(const char* op, const Real* row, Index columns, Index t) {
    for (Index c = 0; c < columns; ++c) {
        if (row[c] == row[c]) continue;
        throw Error{ErrorCode::value, op, "scores that are numbers",
                    format("NaN for token {}, column {}", t, c),
                    "the router's input or weight is not finite; look at the layers before it"};
    }
}

}  // namespace moegrad::cpu
