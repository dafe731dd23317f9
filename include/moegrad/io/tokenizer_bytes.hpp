#pragma once
// The byte alphabet of GPT-2: every byte is written as one printable character. ! to ~, U+00A1 to U+00AC and U+00AE to
// U+00FF stand for themselves; the other 68 bytes, in order, are U+0100 and up (space: U+0120).   openai/gpt-2, encoder.py

#include <moegrad/io/utf8.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace moegrad {

constexpr bool byte_is_its_own_character(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<std::uint16_t, 256> byte_characters() {
    std::array<std::uint16_t, 256> points{};
    unsigned next = 256;
    for (unsigned byte = 0; byte < 256; ++byte)
        points[byte] = static_cast<std::uint16_t>(byte_is_its_own_character(byte) ? byte : next++);
    return points;
}
inline constexpr std::array<std::uint16_t, 256> kByteCharacters = byte_characters();

/// -1 for a character that stands for no byte.
constexpr int character_byte(std::uint32_t point) {
    if (point < 256) return byte_is_its_own_character(point) ? static_cast<int>(point) : -1;
    for (unsigned byte = 0; byte < 256; ++byte)
        if (kByteCharacters[byte] == point) return static_cast<int>(byte);
    return -1;
}

inline std::string bytes_to_characters(std::string_view bytes) {
    std::string out;
    for (const char c : bytes) append_utf8(out, kByteCharacters[static_cast<unsigned char>(c)]);
    return out;
}

/// Nothing when any character stands for no byte.
inline std::optional<std::string> characters_to_bytes(std::string_view text) {
    static constexpr auto bytes = [] {
        std::array<std::int16_t, 324> table{};
        for (unsigned point = 0; point < table.size(); ++point)
            table[point] = static_cast<std::int16_t>(character_byte(point));
        return table;
    }();
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const Utf8Unit unit = utf8_unit(text, at);
        if (unit.state != Utf8State::complete || unit.point >= bytes.size() || bytes[unit.point] < 0)
            return std::nullopt;
        out += static_cast<char>(static_cast<unsigned char>(bytes[unit.point]));
        at += unit.length;
    }
    return out;
}

}  // namespace moegrad
