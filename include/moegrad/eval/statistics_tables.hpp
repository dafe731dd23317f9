#pragma once
// Bodies of mcnemar, matthews and auroc; include statistics.hpp.

#include <moegrad/eval/statistics.hpp>

#include <map>

namespace moegrad {

inline McNemar mcnemar(std::span<const std::uint8_t> a_right, std::span<const std::uint8_t> b_right) {
    detail::require_pairs("mcnemar", a_right.size(), b_right.size());
    McNemar test;
    for (std::size_t i = 0; i < a_right.size(); ++i) {
        test.only_a += a_right[i] != 0 && b_right[i] == 0;
        test.only_b += a_right[i] == 0 && b_right[i] != 0;
    }
    const Index n = test.only_a + test.only_b, fewer = std::min(test.only_a, test.only_b);
    // 2 P(X <= fewer), X binomial(n, 1/2); terms by their logarithms, since 2^-n alone would underflow.
    double term = -static_cast<double>(n) * moegrad::log(2.0), sum = 0;
    for (Index k = 0; k <= fewer; ++k) {
        sum += moegrad::exp(term);
        term += moegrad::log(static_cast<double>(n - k) / static_cast<double>(k + 1));
    }
    test.p = n == 0 || test.only_a == test.only_b ? 1 : std::min(1.0, 2 * sum);
    return test;
}

inline Estimate matthews(std::span<const std::int32_t> predicted, std::span<const std::int32_t> truth,
                         std::uint64_t seed) {
    detail::require_pairs("matthews", predicted.size(), truth.size());
    detail::require_items("matthews", predicted.size());
    return detail::bootstrap(predicted.size(), seed, [&](std::span<const std::size_t> picks) {
        double cell[2][2] = {};
        for (std::size_t i : picks) cell[predicted[i] != 0][truth[i] != 0] += 1;
        const double product = (cell[1][1] + cell[1][0]) * (cell[1][1] + cell[0][1]) *
                               (cell[0][0] + cell[1][0]) * (cell[0][0] + cell[0][1]);
        if (product == 0) return 0.0;
        return (cell[1][1] * cell[0][0] - cell[1][0] * cell[0][1]) / std::sqrt(product);
    });
}

namespace detail {

/// The rank of each value among all, ties at the middle of theirs, from 1.
inline std::vector<double> middle_ranks(const std::vector<double>& x) {
    std::vector<std::size_t> order(x.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return x[i] < x[j]; });
    std::vector<double> rank(x.size());
    for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
        while (end < order.size() && x[order[end]] == x[order[begin]]) ++end;
        for (std::size_t i = begin; i < end; ++i) {
            rank[order[i]] = static_cast<double>(begin + 1 + end) / 2;
        }
    }
    return rank;
}

}  // namespace detail

inline Estimate auroc(std::span<const double> score, std::span<const std::uint8_t> positive,
                      std::span<const std::int32_t> cluster) {
    detail::require_pairs("auroc", score.size(), positive.size());
    if (!cluster.empty()) detail::require_pairs("auroc", score.size(), cluster.size());
    std::vector<double> all(score.begin(), score.end()), side[2];
    for (std::size_t i = 0; i < all.size(); ++i) side[positive[i] != 0].push_back(all[i]);
    const double P = static_cast<double>(side[1].size()), N = static_cast<double>(side[0].size());
    if (P == 0 || N == 0) {
        throw Error{ErrorCode::data, "auroc", "positives and negatives", format("{} and {}", P, N)};
    }
    const std::vector<double> among_all = detail::middle_ranks(all);
    const std::vector<double> among[2] = {detail::middle_ranks(side[0]), detail::middle_ranks(side[1])};
    // place[i]: the share of the other side that item i is ordered rightly against.
    std::vector<double> place(all.size());
    double area = 0;
    std::size_t next[2] = {0, 0};
    for (std::size_t i = 0; i < all.size(); ++i) {
        const std::size_t s = positive[i] != 0;
        const double below = among_all[i] - among[s][next[s]++];
        place[i] = s == 1 ? below / N : 1 - below / P;
        if (s == 1) area += below;
    }
    area /= P * N;  // sums of halves: exact, so that a constant score is 0.5 and no rounding of it
    std::map<std::int64_t, double> influence;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const std::int64_t key = cluster.empty() ? static_cast<std::int64_t>(i) : cluster[i];
        influence[key] += (place[i] - area) / (positive[i] != 0 ? P : N);
    }
    double variance = 0;
    for (const auto& [key, sum] : influence) variance += sum * sum;
    const double C = static_cast<double>(influence.size());
    const double half = C < 2 ? 1 : detail::kNormal95 * std::sqrt(variance * C / (C - 1));
    return {area, std::max(0.0, area - half), std::min(1.0, area + half), static_cast<Index>(all.size())};
}

}  // namespace moegrad
