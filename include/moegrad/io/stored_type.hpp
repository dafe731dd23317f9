#pragma once
// The number types of safetensors files, and exact conversion between the stored bytes and C++ numbers.
//   bf16: sign 1, exponent 8, fraction 7      f16: sign 1, exponent 5, fraction 10      little-endian
// Narrowing rounds to nearest, ties to even; F64 to bf16 rounds twice, through float. Names and widths: huggingface/safetensors, Dtype.

#include <moegrad/core/bf16.hpp>
#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/core/view.hpp>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace moegrad {

static_assert(std::endian::native == std::endian::little, "file numbers are read as they lie in memory");

enum class StoredType {
    boolean,
    f4,
    f6_e2m3,
    f6_e3m2,
    u8,
    i8,
    f8_e5m2,
    f8_e4m3,
    f8_e8m0,
    f8_e4m3fnuz,
    f8_e5m2fnuz,
    i16,
    u16,
    f16,
    bf16,
    i32,
    u32,
    f32,
    c64,
    f64,
    i64,
    u64,
};

struct StoredTypeInfo {
    std::string_view name;
    std::uint64_t bits;
};

inline constexpr std::array<StoredTypeInfo, 22> kStoredTypes{{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};

constexpr std::string_view name(StoredType type) {
    return kStoredTypes[static_cast<std::size_t>(type)].name;
}
constexpr std::uint64_t bits(StoredType type) {
    return kStoredTypes[static_cast<std::size_t>(type)].bits;
}

constexpr std::optional<StoredType> stored_type_from(std::string_view name) {
    for (std::size_t i = 0; i < kStoredTypes.size(); ++i)
        if (kStoredTypes[i].name == name) return static_cast<StoredType>(i);
    return std::nullopt;
}

constexpr float float_from_bf16(std::uint16_t pattern) {
    return static_cast<float>(bf16::from_bits(pattern));
}
constexpr std::uint16_t bf16_from_float(float value) {
    return bf16(value).bits;
}

/// C++ types that a stored tensor can be read into.
template <class T>
concept Readable = std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bf16> ||
    std::is_same_v<T, std::int32_t> || std::is_same_v<T, std::int64_t>;

/// And those that are written; bf16 numbers are widened first.
template <class T>
concept Writable = Readable<T> && !std::is_same_v<T, bf16>;

/// One number: exact where T can hold it. Finite numbers that T cannot hold are an Error, never infinity or a wrap.
template <Readable T, class Stored>
T convert_number(Stored value, const std::string& place) {
    if constexpr (std::is_same_v<T, bf16>) {
        const float number = convert_number<float>(value, place);
        const bf16 rounded(number);
        if (std::isfinite(number) && !std::isfinite(static_cast<float>(rounded)))
            throw Error{ErrorCode::value, place, "numbers within bfloat16", moegrad::format("{}", number)};
        return rounded;
    } else if constexpr (std::is_integral_v<T>) {
        if (value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max())
            throw Error{ErrorCode::value, place, moegrad::format("integers of {} bits", 8 * sizeof(T)),
                        moegrad::format("{}", value)};
    } else if constexpr (std::is_same_v<T, float> && std::is_same_v<Stored, double>) {
        if (std::isfinite(value) && !std::isfinite(static_cast<float>(value)))
            throw Error{ErrorCode::value, place, "numbers within float", moegrad::format("{}", value)};
    }
    return static_cast<T>(value);
}

/// count numbers of one stored type to out. `from` needs no alignment.
template <Readable T>
void read_stored(StoredType type, const std::byte* from, Index count, T* out, const std::string& place) {
    const auto each = [&]<class Raw>(Raw, auto decode) {
        if constexpr (std::is_same_v<Raw, T>) {
            if (count > 0) std::memcpy(out, from, static_cast<std::size_t>(count) * sizeof(T));
        } else {
            for (Index i = 0; i < count; ++i) {
                Raw raw;
                std::memcpy(&raw, from + static_cast<std::size_t>(i) * sizeof(Raw), sizeof(Raw));
                out[i] = convert_number<T>(decode(raw), place);
            }
        }
    };
    const auto same = [](auto value) { return value; };
    if constexpr (std::is_integral_v<T>) {
        if (type == StoredType::i32) return each(std::int32_t{}, same);
        if (type == StoredType::i64) return each(std::int64_t{}, same);
    } else {
        if (type == StoredType::f32) return each(float{}, same);
        if (type == StoredType::f64) return each(double{}, same);
        if constexpr (std::is_same_v<T, bf16>) {
            if (type == StoredType::bf16) return each(bf16{}, same);
        }
        if (type == StoredType::bf16) return each(std::uint16_t{}, float_from_bf16);
        if (type == StoredType::f16) return each(std::uint16_t{}, half_to_float);
    }
    throw Error{ErrorCode::unsupported, place,
                std::is_integral_v<T> ? "stored type I32 or I64" : "stored type F64, F32, F16 or BF16",
                std::string(name(type))};
}

/// Bytes of numbers in a stored type: float to F32, BF16, F16, F64; double to F64, F32; integers to I32, I64.
template <Writable T>
std::string write_stored(StoredType type, const T* from, Index count, const std::string& place) {
    std::string out;
    const auto each = [&]<class Raw>(Raw, auto encode) {
        out.resize(static_cast<std::size_t>(count) * sizeof(Raw));
        for (Index i = 0; i < count; ++i) {
            const Raw raw = encode(from[i]);
            std::memcpy(out.data() + static_cast<std::size_t>(i) * sizeof(Raw), &raw, sizeof(Raw));
        }
        return out;
    };
    if constexpr (std::is_integral_v<T>) {
        const auto to_i32 = [&](T value) { return convert_number<std::int32_t>(value, place); };
        if (type == StoredType::i32) return each(std::int32_t{}, to_i32);
        if (type == StoredType::i64) return each(std::int64_t{}, [](T value) { return std::int64_t{value}; });
    } else {
        const auto to_f32 = [&](T value) { return convert_number<float>(value, place); };
        if (type == StoredType::f32) return each(float{}, to_f32);
        if (type == StoredType::f64)
            return each(double{}, [](T value) { return static_cast<double>(value); });
    }
    // From double these would round twice; whoever wants them rounds to float first and knows it.
    if constexpr (std::is_same_v<T, float>) {
        if (type == StoredType::bf16) return each(std::uint16_t{}, bf16_from_float);
        if (type == StoredType::f16) return each(std::uint16_t{}, float_to_half);
    }
    throw Error{ErrorCode::unsupported, place, "a stored type that fits the numbers",
                std::string(name(type))};
}

}  // namespace moegrad
