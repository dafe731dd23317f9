#pragma once
// The identity of a run: what decides its result, one "key = value" per line. A checkpoint keeps it, and a run that goes
// on from the checkpoint must have the same; what differs is named.

#include <algorithm>
#include <map>
#include <string>
#include <string_view>

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>

namespace moegrad {

/// By key.
inline std::map<std::string, std::string> identity_lines(std::string_view identity) {
    std::map<std::string, std::string> lines;
    while (!identity.empty()) {
        const std::size_t end = std::min(identity.find('\n'), identity.size());
        const std::string_view line = identity.substr(0, end);
        const std::size_t equals = std::min(line.find(" = "), line.size());
        const std::size_t value = std::min(equals + 3, line.size());
        if (!line.empty()) lines.emplace(line.substr(0, equals), line.substr(value));
        identity.remove_prefix(std::min(end + 1, identity.size()));
    }
    return lines;
}

/// Throws when the two differ; `place` is the checkpoint.
inline void require_same_identity(const std::string& place, const std::string& saved,
                                  const std::string& now) {
    const auto before = identity_lines(saved), after = identity_lines(now);
    if (before == after) return;
    std::string expected, got;
    const auto note = [&](const std::string& key, const std::string& was, const std::string& is) {
        expected += format("{}{} = {}", expected.empty() ? "" : "; ", key, was);
        got += format("{}{} = {}", got.empty() ? "" : "; ", key, is);
    };
    for (const auto& [key, value] : before) {
        const auto found = after.find(key);
        if (found == after.end()) note(key, value, "(nothing)");
        if (found != after.end() && found->second != value) note(key, value, found->second);
    }
    for (const auto& [key, value] : after)
        if (before.count(key) == 0) note(key, "(nothing)", value);
    throw Error{
        ErrorCode::config, place, expected, got,
        "a run goes on with the settings and data it began with; leave the flag out, or start a new run"};
}

}  // namespace moegrad
