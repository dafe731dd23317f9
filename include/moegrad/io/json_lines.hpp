#pragma once
// read_json_lines: a file of one JSON object a line. Every error names file:line. Empty lines are skipped.

#include <moegrad/core/view.hpp>
#include <moegrad/io/json.hpp>

#include <string>
#include <string_view>

namespace moegrad {

inline constexpr JsonLimits kLineLimits{16, std::size_t{64} << 20, 4'000'000};

/// `each(JsonRef)` for every line, errors with code `data`.
template <class Each>
void read_json_lines(const std::string& path, const Each& each) {
    const MappedFile file(path);
    std::string_view rest = file.text();
    for (Index number = 1; !rest.empty(); ++number) {
        const std::size_t end = rest.find('\n');
        std::string_view line = rest.substr(0, end);
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
        const std::string place = moegrad::format("{}:{}", path, number);
        const Json json = parse_json(line, place, kLineLimits);
        const JsonRef record(json, place, ErrorCode::data);
        if (!json.is_object()) record.fail("an object");
        each(record);
    }
}

}  // namespace moegrad
