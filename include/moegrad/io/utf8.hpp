#pragma once
// UTF-8 by the table of Unicode 15, 3-7: no overlong forms, no surrogates, nothing above U+10FFFF.

#include <moegrad/core/format.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace moegrad {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8State { complete, incomplete, invalid };

struct Utf8Unit {
    Utf8State state = Utf8State::invalid;
    std::size_t length =
        0;  // bytes of the character when complete, bytes seen so far when incomplete, else 1
    std::uint32_t point = 0;  // the code point when complete
};

/// The character that starts at `at`. Incomplete: the text ends, and what is there could still become a character.
constexpr Utf8Unit utf8_unit(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) {
        return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
    };
    const std::uint32_t lead = byte(at);
    if (lead < 0x80) return {Utf8State::complete, 1, lead};
    if (lead < 0xC2 || lead > 0xF4) return {Utf8State::invalid, 1, 0};
    const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    std::uint32_t point = lead & (0x7Fu >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if (at + i >= text.size()) return {Utf8State::incomplete, i, 0};
        const std::uint32_t next = byte(at + i);
        // Only the second byte has narrower bounds: they keep out overlong forms, surrogates and U+110000 up.
        const std::uint32_t low = i > 1 ? 0x80 : lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        const std::uint32_t high = i > 1 ? 0xBF : lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        if (next < low || next > high) return {Utf8State::invalid, 1, 0};
        point = (point << 6) | (next & 0x3F);
    }
    return {Utf8State::complete, length, point};
}

constexpr bool is_utf8(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        const Utf8Unit unit = utf8_unit(text, at);
        if (unit.state != Utf8State::complete) return false;
        at += unit.length;
    }
    return true;
}

/// How many bytes one U+FFFD stands for: as many as could have begun a character (Unicode 15, 3.9, maximal subparts).
constexpr std::size_t broken_length(std::string_view text, std::size_t at) {
    for (std::size_t length = 3; length > 1; --length)
        if (at + length <= text.size() &&
            utf8_unit(text.substr(at, length), 0).state == Utf8State::incomplete)
            return length;
    return 1;
}

/// `point` must be a scalar value.
inline void append_utf8(std::string& out, std::uint32_t point) {
    const auto put = [&](std::uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (point < 0x80) return put(point);
    if (point < 0x800) {
        put(0xC0 | (point >> 6));
    } else {
        if (point < 0x10000) {
            put(0xE0 | (point >> 12));
        } else {
            put(0xF0 | (point >> 18));
            put(0x80 | ((point >> 12) & 0x3F));
        }
        put(0x80 | ((point >> 6) & 0x3F));
    }
    put(0x80 | (point & 0x3F));
}

/// The property White_Space, which is what `\s` means in the tokenizers that we read.
constexpr bool is_white_space(std::uint32_t point) {
    return (point >= 0x09 && point <= 0x0D) || point == 0x20 || point == 0x85 || point == 0xA0 ||
           point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x2028 || point == 0x2029 ||
           point == 0x202F || point == 0x205F || point == 0x3000;
}

/// Untrusted text for an error message: control and invalid bytes as \xNN, cut after `limit` bytes.
inline std::string printable(std::string_view text, std::size_t limit = 80) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        if (out.size() >= limit) return out + "...";
        const Utf8Unit unit = utf8_unit(text, at);
        const bool shown = unit.state == Utf8State::complete && unit.point >= 0x20 && unit.point != 0x7F &&
                           !(unit.point >= 0x80 && unit.point < 0xA0);
        if (shown) {
            out += text.substr(at, unit.length);
            at += unit.length;
        } else {
            out += moegrad::format("\\x{:02X}", static_cast<unsigned>(static_cast<unsigned char>(text[at])));
            ++at;
        }
    }
    return out;
}

}  // namespace moegrad
