#pragma once
// bf16: the upper half of a float (1 sign, 8 exponent, 7 mantissa bits), for storage; arithmetic happens in
// Wide<T>. float -> bf16 rounds to nearest, ties to even; NaN stays NaN (quiet), values beyond the largest
// bf16 become infinity. Also IEEE half (1, 5, 10) to and from float, for reading and writing files.

#include <moegrad/core/config.hpp>

#include <cstdint>
#include <type_traits>

namespace moegrad {

struct bf16 {
    std::uint16_t bits;

    bf16() = default;
    MOEGRAD_HD constexpr explicit bf16(float value) : bits(round(value)) {}
    MOEGRAD_HD constexpr explicit operator float() const {
        return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
    }

    MOEGRAD_HD static constexpr bf16 from_bits(std::uint16_t bits_) {
        bf16 result(0.0f);
        result.bits = bits_;
        return result;
    }

    /// As numbers: -0 == 0, NaN != NaN.
    MOEGRAD_HD friend constexpr bool operator==(bf16 a, bf16 b) {
        return static_cast<float>(a) == static_cast<float>(b);
    }

private:
    MOEGRAD_HD static constexpr std::uint16_t round(float value) {
        std::uint32_t u = __builtin_bit_cast(std::uint32_t, value);
        // Rounding could carry a NaN payload into infinity; keep its top bits and set the quiet bit.
        if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((u >> 16) | 0x0040u);
        return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
};

static_assert(sizeof(bf16) == 2 && std::is_trivially_copyable_v<bf16> &&
              std::is_trivially_default_constructible_v<bf16>);

template <class T>
struct WideOf {
    using type = T;
};
template <>
struct WideOf<bf16> {
    using type = float;
};

/// The type in which values stored as T are computed with: bf16 -> float, every other number type is its own.
template <class T>
using Wide = typename WideOf<std::remove_cv_t<T>>::type;

/// IEEE binary16 bits -> float, exact; NaN becomes quiet.
MOEGRAD_HD constexpr float half_to_float(std::uint16_t half) {
    std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
    std::uint32_t exponent = (half >> 10) & 31u;
    std::uint32_t mantissa = half & 0x3ffu;
    if (exponent == 31u) {
        std::uint32_t quiet = mantissa != 0 ? 0x00400000u : 0u;
        return __builtin_bit_cast(float, sign | 0x7f800000u | quiet | (mantissa << 13));
    }
    if (exponent == 0u) {
        // Subnormal: mantissa * 2^-24, exact in float.
        float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
        return sign != 0 ? -magnitude : magnitude;
    }
    return __builtin_bit_cast(float, sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

/// float -> IEEE binary16 bits: to nearest, ties to even; beyond 65504 (after rounding) infinity; NaN stays
/// NaN.
MOEGRAD_HD constexpr std::uint16_t float_to_half(float value) {
    std::uint32_t u = __builtin_bit_cast(std::uint32_t, value);
    std::uint32_t sign = (u >> 16) & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((u >> 13) & 0x1ffu));
    if (u >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // 65520 and above
    if (u < 0x38800000u) {
        // Below 2^-14 the result is a multiple of 2^-24: adding 0.5 makes the float unit round there for us.
        float shifted = __builtin_bit_cast(float, u) + 0.5f;
        return static_cast<std::uint16_t>(sign | (__builtin_bit_cast(std::uint32_t, shifted) - 0x3f000000u));
    }
    std::uint32_t rounded = u + 0xfffu + ((u >> 13) & 1u);
    return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

}  // namespace moegrad
