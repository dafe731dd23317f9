#pragma once
// The standard normal distribution.
//     normal_cdf(x) = 1/2 (1 + erf(x / sqrt 2)),   normal_density(x) = exp(-x^2 / 2) / sqrt(2 pi)
//     |x| <= 3   1/2 + density(x) (x + x^3/3 + x^5/(3 5) + ..): positive terms, no cancellation before the 1/2
//     |x| > 3    Laplace's continued fraction of the tail, density(x) / (x + 1/(x + 2/(x + 3/(x + ..))))
// Error below 1e-15, of the tail relative to the tail. NaN stays NaN.

#include <moegrad/core/math_exponential.hpp>

namespace moegrad {

MOEGRAD_HD constexpr double normal_density(double x) {
    return 0.3989422804014326779 * exp(-0.5 * x * x);
}

MOEGRAD_HD constexpr double normal_cdf(double x) {
    const double size = x < 0 ? -x : x;
    if (size <= 3) {
        double sum = 1;  // 36 terms: the last one is below 1e-18
        for (int n = 36; n >= 1; --n) sum = 1 + x * x / (2 * n + 1) * sum;
        return 0.5 + normal_density(x) * x * sum;
    }
    if (size > 40) return x < 0 ? 0.0 : 1.0;  // below the smallest number
    double fraction = x != x ? x : size;
    for (int n = 80; n >= 1; --n) fraction = size + n / fraction;
    const double tail = normal_density(size) / fraction;
    return x < 0 ? tail : 1 - tail;
}

}  // namespace moegrad
