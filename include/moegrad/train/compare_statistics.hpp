#pragma once
// Means over items and seeds with 95 % intervals. x[s][i]: the same items i under every seed s.
//   one seed    mean over the items, Student's t with n - 1; how another start would have gone is not in it
//   S seeds     both count as random draws: the two-way layout without replication
//               var(mean) = (MS_items + MS_seeds - MS_rest) / (S n), not below either of the first two alone;
//               degrees of freedom after Satterthwaite 1946
// A paired difference is the same of a[s][i] - b[s][i].

#include <moegrad/eval/statistics.hpp>

#include <cmath>
#include <vector>

namespace moegrad {

using ItemsBySeed = std::vector<std::vector<double>>;

namespace detail {

inline void require_rectangle(const ItemsBySeed& x) {
    require_items("compare: seeds", x.size());
    for (const auto& row : x) {
        require_items("compare: items", row.size(), 2);
        require_pairs("compare: items of two seeds", row.size(), x.front().size());
    }
}

}  // namespace detail

inline Estimate mean_over_items_and_seeds(const ItemsBySeed& x) {
    detail::require_rectangle(x);
    if (x.size() == 1) return mean(x.front());
    const double S = static_cast<double>(x.size()), n = static_cast<double>(x.front().size());
    std::vector<double> item(x.front().size()), seed(x.size());
    double total = 0;
    for (std::size_t s = 0; s < x.size(); ++s) {
        for (std::size_t i = 0; i < item.size(); ++i) {
            item[i] += x[s][i] / S;
            seed[s] += x[s][i] / n;
            total += x[s][i];
        }
    }
    const double m = total / (S * n);
    double items = 0, seeds = 0, rest = 0;
    for (double value : item) items += S * (value - m) * (value - m) / (n - 1);
    for (double value : seed) seeds += n * (value - m) * (value - m) / (S - 1);
    for (std::size_t s = 0; s < x.size(); ++s) {
        for (std::size_t i = 0; i < item.size(); ++i) {
            const double left = x[s][i] - item[i] - seed[s] + m;
            rest += left * left / ((S - 1) * (n - 1));
        }
    }
    const double sum = std::max({items + seeds - rest, items, seeds});
    const double spread =
        items * items / (n - 1) + seeds * seeds / (S - 1) + rest * rest / ((S - 1) * (n - 1));
    const double least = std::min(S, n) - 1, df = spread > 0 ? sum * sum / spread : least;
    const double half = detail::student95(static_cast<Index>(std::max(least, df))) * std::sqrt(sum / (S * n));
    return {m, m - half, m + half, static_cast<Index>(item.size())};
}

inline Estimate paired_over_items_and_seeds(const ItemsBySeed& a, const ItemsBySeed& b) {
    detail::require_pairs("compare: seeds of two arms", a.size(), b.size());
    ItemsBySeed difference = a;
    for (std::size_t s = 0; s < a.size(); ++s) {
        detail::require_pairs("compare: items of two arms", a[s].size(), b[s].size());
        for (std::size_t i = 0; i < a[s].size(); ++i) difference[s][i] -= b[s][i];
    }
    return mean_over_items_and_seeds(difference);
}

/// Of one number per run that has an interval of its own: mean over seeds. Its variance is that of the runs on average
/// (the items are the same under every seed, so it does not shrink) and that of the mean of the seeds.
inline Estimate mean_over_seeds(const std::vector<Estimate>& runs) {
    detail::require_items("compare: seeds", runs.size());
    if (runs.size() == 1) return runs.front();
    const double S = static_cast<double>(runs.size());
    double m = 0, within = 0, between = 0;
    for (const Estimate& run : runs) {
        const double error = (run.high - run.low) / 2 / detail::kNormal95;
        m += run.value / S;
        within += error * error / S;
    }
    for (const Estimate& run : runs) between += (run.value - m) * (run.value - m) / (S - 1) / S;
    const double sum = within + between;
    const double df = between > 0 ? std::min(1e6, sum * sum / (between * between) * (S - 1)) : 1e6;
    const double half = detail::student95(static_cast<Index>(std::max(1.0, df))) * std::sqrt(sum);
    return {m, m - half, m + half, runs.front().n};
}

/// 1 above, -1 below, 0: zero is in the interval.
inline int sign_of(const Estimate& difference) {
    return difference.low > 0 ? 1 : difference.high < 0 ? -1 : 0;
}

}  // namespace moegrad
