#pragma once
// exp, expm1, log, log1p, sigmoid, silu, tanh, softplus, sqrt for float and double.
//
// Built from IEEE add, multiply, divide and integer bit moves only, so that the bits depend on neither libm
// nor CPU (as long as the compiler contracts nothing: -ffp-contract=off, --fmad=false). No tables and no
// data-dependent branches in the float exp family: loops over it vectorise.
// Method: exp(x) = 2^n exp(r), |r| <= ln2 / 2;  log(x) = k ln2 + 2 atanh(f / (2 + f)), m = 1 + f in [1/sqrt2,
// sqrt2). The series are the Taylor series, cut where the next term is below a quarter of an ulp.
// Largest errors seen against long double (ulp): see tests/core/math_test.cpp.

#include <moegrad/core/config.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace moegrad {

namespace math_detail {

template <class Real>
inline constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
template <class Real>
inline constexpr Real kNaN = std::numeric_limits<Real>::quiet_NaN();
template <class Real>
inline constexpr Real kLargest = std::numeric_limits<Real>::max();

inline constexpr double kLog2E = 0x1.71547652b82fep+0;
inline constexpr double kLn2High = 0x1.62e42feep-1;  // 32 bits: n * kLn2High is exact for |n| < 2^20
inline constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
inline constexpr float kLog2EFloat = 0x1.715476p+0f;
inline constexpr float kLn2HighFloat = 0x1.62e3p-1f;  // 16 bits: n * kLn2HighFloat is exact for |n| < 2^8
inline constexpr float kLn2LowFloat = 0x1.2fefa4p-17f;

// Adding 1.5 * 2^52 (2^23) rounds to a whole number, which then stands in the low bits of the sum.
inline constexpr double kRound = 0x1.8p52;
inline constexpr float kRoundFloat = 0x1.8p23f;

MOEGRAD_HD constexpr std::uint64_t to_bits(double x) {
    return __builtin_bit_cast(std::uint64_t, x);
}
MOEGRAD_HD constexpr std::uint32_t to_bits(float x) {
    return __builtin_bit_cast(std::uint32_t, x);
}
MOEGRAD_HD constexpr double from_bits(std::uint64_t u) {
    return __builtin_bit_cast(double, u);
}
MOEGRAD_HD constexpr float from_bits(std::uint32_t u) {
    return __builtin_bit_cast(float, u);
}

/// -|x|
MOEGRAD_HD constexpr double minus_magnitude(double x) {
    return from_bits(to_bits(x) | 0x8000000000000000u);
}
MOEGRAD_HD constexpr float minus_magnitude(float x) {
    return from_bits(to_bits(x) | 0x80000000u);
}

/// exp(r) - 1 - r for |r| <= ln2 / 2 (1 + 2^-20).
MOEGRAD_HD constexpr double exp_tail(double r) {
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    return p * (r * r);
}
MOEGRAD_HD constexpr float exp_tail(float r) {
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    return p * (r * r);
}

/// p * 2^n for |n| <= 1100 (300), n as an unsigned two's complement; two steps, so that overflow and
/// underflow round once and at the end.
MOEGRAD_HD constexpr double scale(double p, std::uint64_t n) {
    std::uint64_t half = static_cast<std::uint64_t>(static_cast<std::int64_t>(n) >> 1);
    return p * from_bits((half + 1023u) << 52) * from_bits((n - half + 1023u) << 52);
}
MOEGRAD_HD constexpr float scale(float p, std::uint32_t n) {
    std::uint32_t half = static_cast<std::uint32_t>(static_cast<std::int32_t>(n) >> 1);
    return p * from_bits((half + 127u) << 23) * from_bits((n - half + 127u) << 23);
}

/// exp(x + low), |low| small against 1: the low part is what pow needs.
MOEGRAD_HD constexpr double exp_sum(double x, double low) {
    // Outside this range the result is 0 or infinity. The comparisons let NaN through.
    x = x > 710.0 ? 710.0 : x;
    x = x < -746.0 ? -746.0 : x;
    double shifted = x * kLog2E + kRound;
    double n = shifted - kRound;
    double r = (x - n * kLn2High) - (n * kLn2Low - low);
    return scale(1.0 + (r + exp_tail(r)), to_bits(shifted) - to_bits(kRound));
}

/// 2 atanh(s) / s - 2 as a function of z = s^2, z <= 0.0295.
MOEGRAD_HD constexpr double log_tail(double z) {
    double p = 2.0 / 21.0;
    p = p * z + 2.0 / 19.0;
    p = p * z + 2.0 / 17.0;
    p = p * z + 2.0 / 15.0;
    p = p * z + 2.0 / 13.0;
    p = p * z + 2.0 / 11.0;
    p = p * z + 2.0 / 9.0;
    p = p * z + 2.0 / 7.0;
    p = p * z + 2.0 / 5.0;
    p = p * z + 2.0 / 3.0;
    return p * z;
}
MOEGRAD_HD constexpr float log_tail(float z) {
    float p = 2.0f / 9.0f;
    p = p * z + 2.0f / 7.0f;
    p = p * z + 2.0f / 5.0f;
    p = p * z + 2.0f / 3.0f;
    return p * z;
}

/// What log returns outside (0, infinity).
template <class Real>
MOEGRAD_HD constexpr Real log_special(Real x) {
    if (x == Real(0)) return -kInfinity<Real>;
    return x < Real(0) ? kNaN<Real> : x;
}

/// x = 2^k (1 + f), 1 + f in [1/sqrt2, sqrt2), for finite x > 0.
struct LogParts {
    double k, f;
};
MOEGRAD_HD constexpr LogParts log_parts(double x) {
    constexpr std::uint64_t root_half = 0x3fe6a09e667f3bcdu;
    double subnormal = x < 0x1p-1022 ? 54.0 : 0.0;
    x = x < 0x1p-1022 ? x * 0x1p54 : x;
    std::uint64_t u = to_bits(x) + (0x3ff0000000000000u - root_half);
    double k = static_cast<double>(static_cast<std::int64_t>(u >> 52) - 1023) - subnormal;
    return {k, from_bits((u & 0x000fffffffffffffu) + root_half) - 1.0};
}

}  // namespace math_detail

/// e^x. Underflows through the subnormals to 0, overflows to infinity, keeps NaN.
MOEGRAD_HD constexpr double exp(double x) {
    return math_detail::exp_sum(x, 0.0);
}
MOEGRAD_HD constexpr float exp(float x) {
    using namespace math_detail;
    // |x| is cut at 104, where the result is 0 or infinity, by integers: float comparisons become branches
    // (they may trap on NaN) and keep a loop from being vectorised. NaN passes.
    std::uint32_t sign = to_bits(x) & 0x80000000u;
    std::uint32_t magnitude = to_bits(x) & 0x7fffffffu;
    std::uint32_t cut = magnitude < 0x42d00000u ? magnitude : 0x42d00000u;
    x = from_bits(sign | (magnitude > 0x7f800000u ? magnitude : cut));
    float shifted = x * kLog2EFloat + kRoundFloat;
    float n = shifted - kRoundFloat;
    float r = (x - n * kLn2HighFloat) - n * kLn2LowFloat;
    return scale(1.0f + (r + exp_tail(r)), to_bits(shifted) - to_bits(kRoundFloat));
}

/// e^x - 1, accurate near 0.
MOEGRAD_HD constexpr double expm1(double x) {
    using namespace math_detail;
    if (x > 36.0) return exp(x) - 1.0;
    if (x == 0.0) return x;
    x = x < -38.0 ? -38.0 : x;
    double shifted = x * kLog2E + kRound;
    double n = shifted - kRound;
    double high = x - n * kLn2High;
    double r = high - n * kLn2Low;
    double lost = (high - r) - n * kLn2Low;
    double power = from_bits((to_bits(shifted) - to_bits(kRound) + 1023u) << 52);
    double e = r + (exp_tail(r) + lost);
    return n == 0.0 ? e : power * e + (power - 1.0);
}
MOEGRAD_HD constexpr float expm1(float x) {
    return static_cast<float>(expm1(static_cast<double>(x)));
}

/// Natural logarithm: log(0) = -infinity, log(x < 0) = NaN.
MOEGRAD_HD constexpr double log(double x) {
    using namespace math_detail;
    if (!(x > 0.0 && x <= kLargest<double>)) return log_special(x);
    LogParts parts = log_parts(x);
    double f = parts.f;
    double s = f / (2.0 + f);
    double half_square = 0.5 * f * f;
    // 2 atanh(s) = f - f^2 / 2 + s (f^2 / 2 + tail): the two large terms are exact or rounded once.
    double tail = s * (half_square + log_tail(s * s)) + parts.k * kLn2Low;
    return parts.k * kLn2High - ((half_square - tail) - f);
}
MOEGRAD_HD constexpr float log(float x) {
    using namespace math_detail;
    if (!(x > 0.0f && x <= kLargest<float>)) return log_special(x);
    constexpr std::uint32_t root_half = 0x3f3504f3u;
    float subnormal = x < 0x1p-126f ? 25.0f : 0.0f;
    x = x < 0x1p-126f ? x * 0x1p25f : x;
    std::uint32_t u = to_bits(x) + (0x3f800000u - root_half);
    float k = static_cast<float>(static_cast<std::int32_t>(u >> 23) - 127) - subnormal;
    float f = from_bits((u & 0x007fffffu) + root_half) - 1.0f;
    float s = f / (2.0f + f);
    float half_square = 0.5f * f * f;
    float tail = s * (half_square + log_tail(s * s)) + k * kLn2LowFloat;
    return k * kLn2HighFloat - ((half_square - tail) - f);
}

/// log(1 + x), accurate near 0.
MOEGRAD_HD constexpr double log1p(double x) {
    if (x == 0.0) return x;
    double sum = 1.0 + x;
    double lost = (sum - 1.0) - x;
    double result = log(sum);
    // The rounding of 1 + x, carried over by the derivative of log; meaningless where the result is not
    // finite.
    return sum > 0.0 && sum <= 0x1p60 ? result - lost / sum : result;
}
MOEGRAD_HD constexpr float log1p(float x) {
    return static_cast<float>(log1p(static_cast<double>(x)));
}

/// 1 / (1 + e^-x), with full relative accuracy in the lower tail.
template <class Real>
requires std::is_floating_point_v<Real> MOEGRAD_HD constexpr Real sigmoid(Real x) {
    Real z = exp(math_detail::minus_magnitude(x));
    return (x < Real(0) ? z : Real(1)) / (Real(1) + z);
}

/// x sigmoid(x).
template <class Real>
requires std::is_floating_point_v<Real> MOEGRAD_HD constexpr Real silu(Real x) {
    return x * sigmoid(x);
}

/// log(1 + e^x), without overflow.
template <class Real>
requires std::is_floating_point_v<Real> MOEGRAD_HD constexpr Real softplus(Real x) {
    return (x > Real(0) ? x : Real(0)) + log1p(exp(math_detail::minus_magnitude(x)));
}

MOEGRAD_HD constexpr double tanh(double x) {
    double magnitude = x < 0.0 ? -x : x;
    // Beyond 20 the result rounds to 1; the clamp lets NaN through.
    double t = expm1(2.0 * (magnitude > 20.0 ? 20.0 : magnitude));
    double result = t / (t + 2.0);
    return x < 0.0 ? -result : (x == 0.0 ? x : result);
}
MOEGRAD_HD constexpr float tanh(float x) {
    return static_cast<float>(tanh(static_cast<double>(x)));
}

MOEGRAD_HD inline double sqrt(double x) {
    return std::sqrt(x);
}
MOEGRAD_HD inline float sqrt(float x) {
    return std::sqrt(x);
}

}  // namespace moegrad
