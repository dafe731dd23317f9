#pragma once
// Medians with a 95 % interval of order statistics: of n sorted values the k-th from either end, k as large as
//     P(fewer than k of n values lie below the median) = sum_{i<k} C(n, i) / 2^n <= 0.025
// allows. No shape of the distribution is assumed. Below 6 values there is no such k: smallest and largest.

#include <algorithm>
#include <cmath>
#include <vector>

#include <moegrad/eval/statistics.hpp>

namespace moegrad::bench {

/// k of n, counted from 1; 0 where there is none.
inline std::size_t median_rank(std::size_t n) {
    double term = std::pow(0.5, static_cast<double>(n)), below = 0;
    for (std::size_t i = 0; i < n; ++i) {
        below += term;
        if (below > 0.025) return i;
        term *= static_cast<double>(n - i) / static_cast<double>(i + 1);
    }
    return 0;
}

inline Estimate median_interval(std::vector<double> values) {
    if (values.empty()) return {};
    std::sort(values.begin(), values.end());
    const std::size_t n = values.size(), k = std::max<std::size_t>(1, median_rank(n));
    const double middle = (values[(n - 1) / 2] + values[n / 2]) / 2;
    return {middle, values[k - 1], values[n - k], static_cast<Index>(n)};
}

/// Of of(a[i], b[i]), pairs of one round each.
template <class Of>
Estimate paired_interval(const std::vector<double>& a, const std::vector<double>& b, const Of& of) {
    std::vector<double> all;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) all.push_back(of(a[i], b[i]));
    return median_interval(std::move(all));
}

}  // namespace moegrad::bench
