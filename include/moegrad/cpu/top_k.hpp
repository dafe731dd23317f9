#pragma once
// CPU kernel of ops/top_k.hpp. Each group of each row keeps its K best in order while it reads the columns
// once.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/top_k.hpp>

namespace moegrad::cpu::top_k {
namespace {

/// best[0 .. K): columns of the K highest scores. Columns come in ascending order: a new one goes behind its
/// equals.
template <class Real>
void choose(const Real* scores, Index E, std::int32_t* best, Index K) {
    for (Index e = 0; e < E; ++e) {
        Index place = e < K ? e : K;
        while (place > 0 && scores[e] > scores[best[place - 1]]) --place;
        if (place == K) continue;
        for (Index k = e < K ? e : K - 1; k > place; --k) best[k] = best[k - 1];
        best[place] = static_cast<std::int32_t>(e);
    }
}

template <class Real>
void forward(Stream stream, View<const Real, 2> scores, View<std::int32_t, 2> choice, Index groups) {
    const Index E = scores.extent(1) / groups, K = choice.extent(1) / groups;
    for_rows(stream, scores.extent(0), scores.extent(1) * 4, [&](Index t) {
        const Real* row = scores.row(t);
        for (Index c = 0; c < scores.extent(1); ++c) {
            if (row[c] == row[c]) continue;
            throw Error{ErrorCode::value, "top_k", "scores that are numbers",
                        format("NaN for token {}, column {}", t, c),
                        "the router's input or weight is not finite; look at the layers before it"};
        }
        for (Index g = 0; g < groups; ++g) choose(row + g * E, E, choice.row(t) + g * K, K);
    });
}

template <class Real>
constexpr TopKKernels<Real> kernels{forward<Real>};

}  // namespace
}  // namespace moegrad::cpu::top_k

MOEGRAD_CPU_SEATS(top_k)
