#pragma once
// sin, cos, sincos for float and double: |x| <= 1.6e6 to the last bit or two; NaN beyond (an angle that large
// has lost its meaning long before, and a wrong value would be silent).
//
// x = n pi/2 + r, |r| <= pi/4, with pi/2 in four pieces: 33 + 33 + 33 + 53 bits. n has at most 20 bits, so
// the first three products are exact; r is kept as high + low (Cody & Waite 1980, with the roundings carried
// along).

#include <moegrad/core/math_exponential.hpp>

#include <cstdint>

namespace moegrad {

template <class Real>
struct SinCos {
    Real sin, cos;
};

namespace math_detail {

inline constexpr double kLargestAngle = 1600000.0;

struct QuarterTurn {
    double high, low;       // the rest r
    std::uint64_t quarter;  // n; its last two bits say which quarter
};

MOEGRAD_HD constexpr QuarterTurn reduce_angle(double x) {
    constexpr double two_over_pi = 0x1.45f306dc9c883p-1;
    constexpr double piece_1 = 0x1.921fb544p+0;
    constexpr double piece_2 = 0x1.0b4611a6p-34;
    constexpr double piece_3 = 0x1.3198a2ep-69;
    constexpr double piece_4 = 0x1.b839a252049c1p-104;
    constexpr double round = 0x1.8p52;
    double shifted = x * two_over_pi + round;
    double n = shifted - round;
    double a = x - n * piece_1;  // exact
    // Two exact differences: value and rounding error of each (Knuth's two-sum).
    double w = n * piece_2;
    double b = a - w;
    double bb = b - a;
    double low = (a - (b - bb)) - (w + bb);
    w = n * piece_3;
    double c = b - w;
    double cc = c - b;
    low += (b - (c - cc)) - (w + cc);
    low -= n * piece_4;
    double high = c + low;
    return {high, (c - high) + low,
            __builtin_bit_cast(std::uint64_t, shifted) - __builtin_bit_cast(std::uint64_t, round)};
}

/// sin(high + low) on |r| <= pi/4.
MOEGRAD_HD constexpr double sin_core(double high, double low) {
    double z = high * high;
    double p = 1.0 / 355687428096000.0;
    p = p * z - 1.0 / 1307674368000.0;
    p = p * z + 1.0 / 6227020800.0;
    p = p * z - 1.0 / 39916800.0;
    p = p * z + 1.0 / 362880.0;
    p = p * z - 1.0 / 5040.0;
    p = p * z + 1.0 / 120.0;
    p = p * z - 1.0 / 6.0;
    return high + (high * (z * p) + low * (1.0 - 0.5 * z));
}

/// cos(high + low) on |r| <= pi/4.
MOEGRAD_HD constexpr double cos_core(double high, double low) {
    double z = high * high;
    double p = 1.0 / 20922789888000.0;
    p = p * z - 1.0 / 87178291200.0;
    p = p * z + 1.0 / 479001600.0;
    p = p * z - 1.0 / 3628800.0;
    p = p * z + 1.0 / 40320.0;
    p = p * z - 1.0 / 720.0;
    p = p * z + 1.0 / 24.0;
    double half = 0.5 * z;
    double w = 1.0 - half;
    return w + (((1.0 - w) - half) + (z * z * p - high * low));
}

}  // namespace math_detail

MOEGRAD_HD constexpr SinCos<double> sincos(double x) {
    using namespace math_detail;
    if (!(x >= -kLargestAngle && x <= kLargestAngle)) {
        return {kNaN<double>, kNaN<double>};
    }
    if (x == 0.0) return {x, 1.0};
    QuarterTurn turn = reduce_angle(x);
    double s = sin_core(turn.high, turn.low);
    double c = cos_core(turn.high, turn.low);
    bool swap = (turn.quarter & 1u) != 0;
    double sine = swap ? c : s;
    double cosine = swap ? s : c;
    return {(turn.quarter & 2u) != 0 ? -sine : sine, ((turn.quarter + 1u) & 2u) != 0 ? -cosine : cosine};
}
MOEGRAD_HD constexpr double sin(double x) {
    return sincos(x).sin;
}
MOEGRAD_HD constexpr double cos(double x) {
    return sincos(x).cos;
}

// A float is reduced and evaluated in double: one rounding more, and no second set of constants to trust.
MOEGRAD_HD constexpr SinCos<float> sincos(float x) {
    SinCos<double> wide = sincos(static_cast<double>(x));
    return {static_cast<float>(wide.sin), static_cast<float>(wide.cos)};
}
MOEGRAD_HD constexpr float sin(float x) {
    return sincos(x).sin;
}
MOEGRAD_HD constexpr float cos(float x) {
    return sincos(x).cos;
}

}  // namespace moegrad
