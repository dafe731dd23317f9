#pragma once
// The task of a JSONL record: its optional "task", a whole number from 0, or a name that `names` ("cola, rte, sst2") numbers
// in its order. Routers that look at tasks are told the number (core/segments.hpp). A name while there are none is no task:
// many files have such a key.

#include <moegrad/core/nearest.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/io/json_lines.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace moegrad {

inline constexpr Index kMostTasks = 1 << 20;

/// "cola, rte" -> cola, rte. A name that occurs twice or is empty is an error.
inline std::vector<std::string> task_names(std::string_view text) {
    std::vector<std::string> names;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(','), text.size());
        std::string_view name = text.substr(0, end);
        while (name.starts_with(' ')) name.remove_prefix(1);
        while (name.ends_with(' ')) name.remove_suffix(1);
        if (name.empty() || std::find(names.begin(), names.end(), name) != names.end()) {
            throw Error{ErrorCode::config, "data.tasks", "names, each once: \"cola, rte\"",
                        "\"" + printable(name, 40) + "\""};
        }
        names.emplace_back(name);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return names;
}

/// kNoTask where the record has none, or has a name while there are no names.
inline std::int32_t task_of(const JsonRef& line, const std::vector<std::string>& names) {
    const auto task = line.find_value("task");
    if (!task) return kNoTask;
    const Index count = names.empty() ? kMostTasks : static_cast<Index>(names.size());
    if (task->value().integer()) return static_cast<std::int32_t>(task->integer(0, count - 1));
    const std::string& name = task->string();
    if (names.empty()) return kNoTask;
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
        throw Error{ErrorCode::data, task->place(), "one of data.tasks", "\"" + printable(name, 40) + "\"",
                    did_you_mean(nearest(name, names))};
    }
    return static_cast<std::int32_t>(found - names.begin());
}

}  // namespace moegrad
