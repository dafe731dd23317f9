#pragma once
// pow(x, y) = exp(y log x), with log x kept as high + low: relative error about 2^-58 before exp, that is
// below 2 ulp while |y log x| <= 40, and some tens of ulp at the far ends of the range (1e300). Special
// values as in IEEE 754 (pow(x, 0) = 1, pow(1, y) = 1, negative x only with whole y).

#include <moegrad/core/math_exponential.hpp>

#include <cstdint>

namespace moegrad {

namespace math_detail {

struct TwoDoubles {
    double high, low;
};

/// a * b exactly (Dekker 1971); the halves have 26 bits. |a|, |b| < 2^990.
MOEGRAD_HD constexpr TwoDoubles exact_product(double a, double b) {
    constexpr double split = 134217729.0;  // 2^27 + 1
    double ta = split * a, tb = split * b;
    double ah = ta - (ta - a), bh = tb - (tb - b);
    double al = a - ah, bl = b - bh;
    double p = a * b;
    return {p, ((ah * bh - p) + ah * bl + al * bh) + al * bl};
}

/// a + b exactly, |a| >= |b| or a == 0.
MOEGRAD_HD constexpr TwoDoubles fast_two_sum(double a, double b) {
    double sum = a + b;
    return {sum, b - (sum - a)};
}

/// log(x) = high + low for finite x > 0.
MOEGRAD_HD constexpr TwoDoubles log_two(double x) {
    LogParts parts = log_parts(x);
    double f = parts.f;
    // s = f / (2 + f) as s + s_low; 2 + f is d + d_low.
    TwoDoubles d = fast_two_sum(2.0, f);
    double s = f / d.high;
    TwoDoubles back = exact_product(s, d.high);
    double s_low = (((f - back.high) - back.low) - s * d.low) / d.high;
    double tail = s * log_tail(s * s) + 2.0 * s_low;
    TwoDoubles sum = fast_two_sum(parts.k * kLn2High, 2.0 * s);
    return fast_two_sum(sum.high, sum.low + (tail + parts.k * kLn2Low));
}

MOEGRAD_HD constexpr bool is_whole(double y) {
    // From 2^53 on every double is an even whole number.
    return y >= 0x1p53 || y <= -0x1p53 || static_cast<double>(static_cast<std::int64_t>(y)) == y;
}
MOEGRAD_HD constexpr bool is_odd(double y) {
    return y < 0x1p53 && y > -0x1p53 && is_whole(y) && (static_cast<std::int64_t>(y) & 1) != 0;
}

/// Zero, infinite or NaN arguments.
MOEGRAD_HD constexpr double pow_special(double x, double y) {
    constexpr double infinity = kInfinity<double>;
    if (x != x || y != y) return kNaN<double>;
    double magnitude = x < 0.0 ? -x : x;
    if (y == infinity || y == -infinity) {
        if (magnitude == 1.0) return 1.0;
        return (magnitude > 1.0) == (y > 0.0) ? infinity : 0.0;
    }
    double result = (magnitude == 0.0) == (y > 0.0) ? 0.0 : infinity;
    bool negative = (to_bits(x) >> 63) != 0;
    return negative && is_odd(y) ? -result : result;
}

}  // namespace math_detail

MOEGRAD_HD constexpr double pow(double x, double y) {
    using namespace math_detail;
    constexpr double largest = kLargest<double>;
    if (y == 0.0 || x == 1.0) return 1.0;
    double magnitude = x < 0.0 ? -x : x;
    if (!(magnitude > 0.0 && magnitude <= largest && y >= -largest && y <= largest)) return pow_special(x, y);
    if (x < 0.0 && !is_whole(y)) return kNaN<double>;
    TwoDoubles logarithm = log_two(magnitude);
    // Beyond 2^70 every x but 1 has left the range of exp, and smaller factors keep the exact product finite.
    double power = y > 0x1p70 ? 0x1p70 : (y < -0x1p70 ? -0x1p70 : y);
    TwoDoubles product = exact_product(power, logarithm.high);
    double result = product.high > 800.0 || product.high < -800.0
                        ? exp(product.high)
                        : exp_sum(product.high, product.low + power * logarithm.low);
    return x < 0.0 && is_odd(y) ? -result : result;
}
MOEGRAD_HD constexpr float pow(float x, float y) {
    return static_cast<float>(pow(static_cast<double>(x), static_cast<double>(y)));
}

}  // namespace moegrad
