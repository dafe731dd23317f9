#pragma once
// JsonLimits: what a JSON text may cost, and the look at the text that decides it before a parser sees it.
// One pass without memory of its own: depth, number of values, length of the longest string and number. A text within
// the limits may still be no JSON; one outside is refused wherever the parser would have stopped.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace moegrad {

struct JsonLimits {
    std::size_t depth = 64;
    std::size_t bytes = std::size_t{256} << 20;
    std::size_t values = std::size_t{16} << 20;
    std::size_t string_bytes = std::size_t{64} << 20;  // as written, escapes not yet resolved
    std::size_t root_values = std::size_t{16} << 20;   // of the outermost object or array
};

/// No number that a file needs is longer; the longest double written out in full has 1077 characters.
inline constexpr std::size_t kMaxJsonNumber = 1100;

namespace detail {

enum class JsonByte : std::uint8_t { other, space, quote, open, close, comma, colon };

inline constexpr std::array<JsonByte, 256> kJsonBytes = [] {
    std::array<JsonByte, 256> table{};
    for (const char c : {' ', '\t', '\r', '\n'}) table[static_cast<unsigned char>(c)] = JsonByte::space;
    table[static_cast<unsigned char>('"')] = JsonByte::quote;
    table[static_cast<unsigned char>('[')] = table[static_cast<unsigned char>('{')] = JsonByte::open;
    table[static_cast<unsigned char>(']')] = table[static_cast<unsigned char>('}')] = JsonByte::close;
    table[static_cast<unsigned char>(',')] = JsonByte::comma;
    table[static_cast<unsigned char>(':')] = JsonByte::colon;
    return table;
}();

/// Behind the closing quote of the string whose first character is at `at`; the text's size when there is none.
inline std::size_t json_string_end(std::string_view text, std::size_t at) {
    while (at < text.size()) {
        const char c = text[at];
        if (c == '"') return at + 1;
        at += c == '\\' ? 2 : 1;
    }
    return text.size();
}

[[noreturn]] inline void exceeds_json_limit(const std::string& place, std::string expected, std::size_t at) {
    throw Error{ErrorCode::format, place, std::move(expected), moegrad::format("more, at byte {}", at)};
}

}  // namespace detail

/// Throws format where the text passes a limit. nlohmann skips a byte order mark and takes NUL for the end of input; in
/// a file both are damage, so they are refused here too.
inline void require_json_limits(std::string_view text, const std::string& place, const JsonLimits& limits) {
    if (text.size() > limits.bytes)
        throw Error{ErrorCode::format, place, moegrad::format("at most {} bytes of JSON", limits.bytes),
                    moegrad::format("{} bytes", text.size())};
    if (text.substr(0, 3) == "\xEF\xBB\xBF")
        throw Error{ErrorCode::format, place, "JSON", "a UTF-8 byte order mark", "save the file without it"};
    std::size_t depth = 0, values = 1, root_values = 0, token = 0;
    bool opened = false;  // the last thing was a bracket: what comes next is its first value
    const auto count_value = [&](std::size_t at) {
        opened = false;
        if (++values > limits.values)
            detail::exceeds_json_limit(place, moegrad::format("at most {} JSON values", limits.values), at);
        if (depth == 1 && ++root_values > limits.root_values)
            detail::exceeds_json_limit(
                place, moegrad::format("at most {} values at the top", limits.root_values), at);
    };
    for (std::size_t at = 0; at < text.size(); ++at) {
        const detail::JsonByte kind = detail::kJsonBytes[static_cast<unsigned char>(text[at])];
        if (kind == detail::JsonByte::space) continue;
        if (opened && kind != detail::JsonByte::close) count_value(at);
        if (kind == detail::JsonByte::other) {
            if (text[at] == '\0')
                throw Error{ErrorCode::format, place, "JSON text", moegrad::format("a NUL byte at {}", at)};
            if (++token > kMaxJsonNumber)
                detail::exceeds_json_limit(
                    place, moegrad::format("numbers of at most {} characters", kMaxJsonNumber), at);
            continue;
        }
        token = 0;
        if (kind == detail::JsonByte::quote) {
            const std::size_t end = detail::json_string_end(text, at + 1);
            if (end - at > limits.string_bytes + 2)
                detail::exceeds_json_limit(
                    place, moegrad::format("strings of at most {} bytes", limits.string_bytes), at);
            at = end - 1;
        } else if (kind == detail::JsonByte::open) {
            if (++depth > limits.depth)
                detail::exceeds_json_limit(place,
                                           moegrad::format("JSON nested at most {} deep", limits.depth), at);
            opened = true;
        } else if (kind == detail::JsonByte::close) {
            depth -= depth > 0 ? 1 : 0;
            opened = false;
        } else if (kind == detail::JsonByte::comma) {
            count_value(at);
        }
    }
}

}  // namespace moegrad
