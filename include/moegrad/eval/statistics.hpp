#pragma once
// Estimates with 95 % intervals. Every number a table shows comes from here, so that every table says how sure it is.
//   proportion           Wilson's score interval (1927), z = 1.959964
//   mean                 mean +- t(n - 1) s / sqrt(n), Student's t
//   bootstrap_mean       percentiles of the means of seeded resamples (Efron 1979)
//   paired_difference    of a[i] - b[i]: Student's t below 30 pairs (seeds), paired bootstrap from there on (items)
//   mcnemar              exact two-sided test on the items that only one of two classifiers has right (1947)
//   matthews             correlation of two classes (1975), interval by bootstrap over the items
//   auroc                share of (positive, negative) pairs in the right order, ties one half (Mann & Whitney);
//                        interval by the structural components of DeLong et al. 1988, summed per cluster where items
//                        come in clusters (tokens of one text), as Obuchowski 1997
// Draws are functions of the seed (Philox): the same interval on every machine.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/core/philox.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad {

/// A value, its 95 % interval [low, high] and how many items it is of.
struct Estimate {
    double value = 0, low = 0, high = 0;
    Index n = 0;

    bool operator==(const Estimate&) const = default;
    /// The interval holds x.
    bool holds(double x) const { return low <= x && x <= high; }
};

inline constexpr Index kResamples = 4000;

namespace detail {

inline constexpr double kNormal95 = 1.959963984540054;

inline void require_items(const char* place, std::size_t n, std::size_t least = 1) {
    if (n >= least) return;
    throw Error{ErrorCode::data, place, format("at least {} items", least), format("{}", n)};
}
inline void require_pairs(const char* place, std::size_t a, std::size_t b) {
    if (a == b) return;
    throw Error{ErrorCode::data, place, "as many values on both sides", format("{} and {}", a, b)};
}

/// The 97.5 % point of Student's t: a table, then the expansion in 1 / df (Fisher & Cornish 1960; 1e-6 from 30 on).
inline double student95(Index df) {
    constexpr double table[] = {12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600,
                                2.26216, 2.22814, 2.20099, 2.17881, 2.16037, 2.14479, 2.13145, 2.11991,
                                2.10982, 2.10092, 2.09302, 2.08596, 2.07961, 2.07387, 2.06866, 2.06390,
                                2.05954, 2.05553, 2.05183, 2.04841, 2.04523, 2.04227};
    if (df <= 30) return table[std::max<Index>(df, 1) - 1];
    const double z = kNormal95, z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
    const double d = static_cast<double>(df);
    return z + (z3 + z) / (4 * d) + (5 * z5 + 16 * z3 + 3 * z) / (96 * d * d) +
           (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * d * d * d);
}

/// P(|T| >= t) of Student's t with df >= 1 degrees of freedom: the finite sums in cos(atan(t / sqrt(df))) of Abramowitz &
/// Stegun 26.7.3 and 26.7.4. Below 1e-15 or so it is what rounding leaves.
inline double student_two_sided(double t, Index df) {
    if (!(t > 0)) return 1;
    if (std::isinf(t)) return 0;
    if (df > 1000) return std::erfc(t / std::sqrt(2.0));
    const double n = static_cast<double>(df), angle = std::atan(t / std::sqrt(n));
    const double cosine = std::cos(angle), sine = std::sin(angle);
    const bool odd = df % 2 == 1;
    double term = odd ? cosine : 1, sum = df == 1 ? 0 : term;
    for (Index k = odd ? 3 : 2; k <= df - 2; k += 2) {
        const double kd = static_cast<double>(k);
        term *= cosine * cosine * (kd - 1) / kd;
        sum += term;
    }
    const double inside = odd ? (angle + sine * sum) * 2 / std::acos(-1.0) : sine * sum;
    return std::clamp(1 - inside, 0.0, 1.0);
}

/// The q-quantile of sorted values, linear between neighbours.
inline double quantile(std::span<const double> sorted, double q) {
    const double at = q * static_cast<double>(sorted.size() - 1);
    const auto i = static_cast<std::size_t>(at);
    if (i + 1 >= sorted.size()) return sorted.back();
    return sorted[i] + (at - static_cast<double>(i)) * (sorted[i + 1] - sorted[i]);
}

/// `of(picks)` on resamples of n items: value on all of them once, percentiles of the resamples.
template <class Of>
Estimate bootstrap(std::size_t n, std::uint64_t seed, const Of& of) {
    std::vector<std::size_t> picks(n);
    std::iota(picks.begin(), picks.end(), std::size_t{0});
    const double value = of(std::span<const std::size_t>(picks));
    Random random(seed, 0x626f6f7473747261ull);
    std::vector<double> all(static_cast<std::size_t>(kResamples));
    for (double& one : all) {
        for (std::size_t& pick : picks) pick = static_cast<std::size_t>(random.next_below(n));
        one = of(std::span<const std::size_t>(picks));
    }
    std::sort(all.begin(), all.end());
    return {value, quantile(all, 0.025), quantile(all, 0.975), static_cast<Index>(n)};
}

inline double mean_at(std::span<const double> x, std::span<const std::size_t> picks) {
    double sum = 0;
    for (std::size_t i : picks) sum += x[i];
    return sum / static_cast<double>(picks.size());
}

}  // namespace detail

/// `right` of n.
inline Estimate proportion(Index right, Index n) {
    detail::require_items("proportion", static_cast<std::size_t>(std::max<Index>(n, 0)));
    const double p = static_cast<double>(right) / static_cast<double>(n), N = static_cast<double>(n);
    const double z2 = detail::kNormal95 * detail::kNormal95;
    const double middle = (p + z2 / (2 * N)) / (1 + z2 / N);
    const double half = detail::kNormal95 / (1 + z2 / N) * std::sqrt(p * (1 - p) / N + z2 / (4 * N * N));
    return {p, right == 0 ? 0 : middle - half, right == n ? 1 : middle + half, n};
}

/// One value has the interval [value, value]: nothing is known of its spread.
inline Estimate mean(std::span<const double> x) {
    detail::require_items("mean", x.size());
    const double n = static_cast<double>(x.size());
    double sum = 0, squares = 0;
    for (double value : x) sum += value;
    const double m = sum / n;
    for (double value : x) squares += (value - m) * (value - m);
    const Index df = static_cast<Index>(x.size()) - 1;
    const double half = df == 0 ? 0 : detail::student95(df) * std::sqrt(squares / (n - 1) / n);
    return {m, m - half, m + half, df + 1};
}

inline Estimate bootstrap_mean(std::span<const double> x, std::uint64_t seed = 0) {
    detail::require_items("bootstrap_mean", x.size());
    return detail::bootstrap(x.size(), seed,
                             [&](std::span<const std::size_t> picks) { return detail::mean_at(x, picks); });
}

/// mean(a - b) of pairs: the same item under two models, or the same seed under two methods.
inline Estimate paired_difference(std::span<const double> a, std::span<const double> b,
                                  std::uint64_t seed = 0) {
    detail::require_pairs("paired_difference", a.size(), b.size());
    std::vector<double> difference(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
    return difference.size() < 30 ? mean(difference) : bootstrap_mean(difference, seed);
}

/// Items that only one of two classifiers has right, and the probability of a split at least as uneven by chance.
struct McNemar {
    Index only_a = 0, only_b = 0;
    double p = 1;
};
McNemar mcnemar(std::span<const std::uint8_t> a_right, std::span<const std::uint8_t> b_right);

/// Labels are 0 and 1. 0 where a row or column of the table is empty (as scikit-learn has it).
Estimate matthews(std::span<const std::int32_t> predicted, std::span<const std::int32_t> truth,
                  std::uint64_t seed = 0);

/// `cluster` (may be empty): which items belong together; an interval that takes them as independent is too narrow.
Estimate auroc(std::span<const double> score, std::span<const std::uint8_t> positive,
               std::span<const std::int32_t> cluster = {});

}  // namespace moegrad

#include <moegrad/eval/statistics_tables.hpp>
