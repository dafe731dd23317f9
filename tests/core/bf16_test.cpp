#include <moegrad/core/bf16.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

using moegrad::bf16;
using moegrad::Wide;

static_assert(std::is_same_v<Wide<bf16>, float> && std::is_same_v<Wide<const bf16>, float>);
static_assert(std::is_same_v<Wide<float>, float> && std::is_same_v<Wide<double>, double>);
static_assert(std::is_same_v<Wide<std::complex<double>>, std::complex<double>>);
static_assert(static_cast<float>(bf16(1.5f)) == 1.5f);
static_assert(!std::is_convertible_v<float, bf16> && !std::is_convertible_v<bf16, float>);

namespace {

/// Nearest multiple of the spacing at |x|, ties to even, from the definition of the format: p bits of
/// precision, smallest exponent emin, largest finite value `largest`. nearbyint rounds ties to even.
double rounded(double x, int precision, int smallest_exponent, double largest) {
    if (x == 0.0 || !std::isfinite(x)) return x;
    int exponent = std::max(std::ilogb(x), smallest_exponent);
    double spacing = std::ldexp(1.0, exponent - precision + 1);
    double result = std::nearbyint(x / spacing) * spacing;
    return std::fabs(result) > largest ? std::copysign(std::numeric_limits<double>::infinity(), x) : result;
}

float from_bits(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

/// Floats all over the range, with many near halfway points of both formats.
template <class Check>
void for_many_floats(Check&& check) {
    for (std::uint64_t u = 0; u < 0x100000000u; u += 40503) check(from_bits(static_cast<std::uint32_t>(u)));
    for (std::uint64_t u = 0; u < 0x100000000u; u += 0x8000) {
        for (int d = -1; d <= 1; ++d)
            check(from_bits(static_cast<std::uint32_t>(u) + static_cast<std::uint32_t>(d)));
    }
    for (std::uint64_t u = 0; u < 0x100000000u; u += 0x10000) {
        for (std::uint32_t d : {0xfffu, 0x1000u, 0x1001u, 0x2fffu, 0x3000u, 0x3001u}) {
            check(from_bits(static_cast<std::uint32_t>(u) + d));
        }
    }
}

}  // namespace

TEST_CASE("bf16: every value goes to float and back") {
    int wrong = 0;
    for (std::uint32_t u = 0; u < 65536; ++u) {
        bf16 value = bf16::from_bits(static_cast<std::uint16_t>(u));
        float wide = static_cast<float>(value);
        std::uint32_t bits;
        std::memcpy(&bits, &wide, sizeof bits);
        if (bits != u << 16) ++wrong;
        std::uint16_t back = bf16(wide).bits;
        if (std::isnan(wide) ? back != (u | 0x40u) : back != u) ++wrong;
    }
    CHECK(wrong == 0);
}

TEST_CASE("bf16: rounds to nearest, ties to even, against the definition") {
    const double largest = std::ldexp(255.0, 120);
    int wrong = 0;
    for_many_floats([&](float x) {
        float got = static_cast<float>(bf16(x));
        if (std::isnan(x)) {
            if (!std::isnan(got)) ++wrong;
        } else if (static_cast<double>(got) != rounded(x, 8, -126, largest) ||
                   std::signbit(got) != std::signbit(x)) {
            ++wrong;
        }
    });
    CHECK(wrong == 0);
    CHECK(bf16(1.00390625f).bits == 0x3f80);  // 1 + 2^-8: a tie, to the even 1
    CHECK(bf16(1.01171875f).bits == 0x3f82);  // 1 + 3 * 2^-8: a tie, up to the even one
    CHECK(bf16(-0.0f).bits == 0x8000);
    CHECK(bf16(0.0f) == bf16(-0.0f));
    CHECK(bf16(std::numeric_limits<float>::max()).bits == 0x7f80);
    // A NaN whose payload sits in the lower half only must not become infinity.
    CHECK(std::isnan(static_cast<float>(bf16(from_bits(0x7f800001u)))));
    CHECK(std::isnan(static_cast<float>(bf16(from_bits(0xffffffffu)))));
}

TEST_CASE("half: every value goes to float and back") {
    int wrong = 0;
    for (std::uint32_t u = 0; u < 65536; ++u) {
        std::uint16_t half = static_cast<std::uint16_t>(u);
        float wide = moegrad::half_to_float(half);
        int exponent = static_cast<int>((u >> 10) & 31);
        double mantissa = static_cast<double>(u & 1023);
        double expected =
            exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024.0 + mantissa, exponent - 25);
        if (exponent == 31) expected = std::numeric_limits<double>::infinity();
        if ((u & 0x8000u) != 0) expected = -expected;
        if (exponent == 31 && mantissa != 0.0) {
            if (!std::isnan(wide) || (moegrad::float_to_half(wide) | 0x200u) != (u | 0x200u)) ++wrong;
            continue;
        }
        if (static_cast<double>(wide) != expected || std::signbit(wide) != std::signbit(expected)) ++wrong;
        if (moegrad::float_to_half(wide) != half) ++wrong;
    }
    CHECK(wrong == 0);
}

TEST_CASE("half: rounds to nearest, ties to even, against the definition") {
    int wrong = 0;
    for_many_floats([&](float x) {
        float got = moegrad::half_to_float(moegrad::float_to_half(x));
        if (std::isnan(x)) {
            if (!std::isnan(got)) ++wrong;
        } else if (static_cast<double>(got) != rounded(x, 11, -14, 65504.0) ||
                   std::signbit(got) != std::signbit(x)) {
            ++wrong;
        }
    });
    CHECK(wrong == 0);
    CHECK(moegrad::float_to_half(65519.0f) == 0x7bff);
    CHECK(moegrad::float_to_half(65520.0f) == 0x7c00);
    CHECK(moegrad::float_to_half(std::ldexp(1.0f, -25)) == 0x0000);
    CHECK(moegrad::float_to_half(std::ldexp(1.5f, -25)) == 0x0001);
}
