#pragma once
// read_json_lines: a file of one JSON object a line. Every error names file:line. Empty lines are skipped.

#include <moegrad/core/view.hpp>
#include <moegrad/io/json.hpp>

#include <string>
#include <string_view>

namespace moegrad {

inline constexpr JsonLimits kLineLimits{16, std::size_t{64} << 20, 4'000'000};

/// `each(JsonRef)` for every line of a text, errors with code `data`; `path` names it.
template <class Each>
void read_json_lines_of(std::string_view text, const std::string& path, const Each& each) {
    for (Index number = 1; !text.empty(); ++number) {
        // A line that is too long is not read to its end.
        const std::size_t end = text.substr(0, kLineLimits.bytes + 1).find('\n');
        std::string_view line = text.substr(0, end == std::string_view::npos ? kLineLimits.bytes + 1 : end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        const bool fits = line.size() <= kLineLimits.bytes;  // else parse_json says so
        if (fits && line.ends_with('\r')) line.remove_suffix(1);
        if (fits && line.find_first_not_of(" \t") == std::string_view::npos) continue;
        const std::string place = moegrad::format("{}:{}", path, number);
        const Json json = parse_json(line, place, kLineLimits);
        const JsonRef record(json, place, ErrorCode::data);
        if (!json.is_object()) record.fail("an object");
        each(record);
    }
}

template <class Each>
void read_json_lines(const std::string& path, const Each& each) {
    const MappedFile file(path);
    read_json_lines_of(file.text(), path, each);
}

}  // namespace moegrad
