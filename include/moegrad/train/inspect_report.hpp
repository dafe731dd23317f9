#pragma once
// Inspection: what `moegrad inspect` found, as one JSON object, and the same as text for a screen. Values in it are
// numbers, words, lists of words, flat objects and tables (lists of objects with the same keys). A key that ends in
// "bytes" is a size.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <moegrad/core/format.hpp>
#include <moegrad/io/json_value.hpp>
#include <moegrad/io/utf8.hpp>

namespace moegrad {

struct Inspection {
    Json json = Json::object();
    std::vector<std::string> notes, warnings;

    Inspection(const std::string& kind, const std::string& path) {
        json.add("kind", kind);
        json.add("path", printable(path, 4096));
    }
    Inspection& add(const std::string& key, Json value) {
        json.add(key, std::move(value));
        return *this;
    }
};

namespace detail {

inline Json word_list(const std::vector<std::string>& words) {
    Json::Array all;
    for (const auto& word : words) all.emplace_back(printable(word, 400));
    return Json(std::move(all));
}

/// 999 B, 12.3 kB, 4.56 GB.
inline std::string size_text(double bytes) {
    constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB"};
    int unit = 0;
    while (bytes >= 999.5 && unit < 4) {
        bytes /= 1000;
        ++unit;
    }
    return unit == 0 ? moegrad::format("{:.0f} B", bytes)
                     : moegrad::format("{:.{}f} {}", bytes,
                                       bytes < 9.995   ? 2
                                       : bytes < 99.95 ? 1
                                                       : 0,
                                       units[unit]);
}

/// 46702792704 as 46,702,792,704.
inline std::string grouped(std::int64_t value) {
    std::string text = std::to_string(value);
    for (std::size_t at = text.size(); at > (value < 0 ? 4u : 3u);) {
        at -= 3;
        text.insert(at, ",");
    }
    return text;
}

inline std::string value_text(const std::string& key, const Json& value) {
    if (const auto number = value.integer())
        return key.ends_with("bytes") ? size_text(static_cast<double>(*number)) : grouped(*number);
    if (const auto number = value.number()) return moegrad::format("{}", *number);
    if (const auto word = value.boolean()) return *word ? "yes" : "no";
    if (const auto* text = value.string()) return *text;
    std::string all;
    const auto separate = [&] { return all.empty() ? "" : ", "; };
    if (const auto* items = value.array()) {
        for (const Json& item : *items) all += separate() + value_text(key, item);
    }
    if (const auto* members = value.members()) {
        for (const auto& member : *members)
            all += separate() + member.key + " " + value_text(member.key, member.value);
    }
    return all.empty() ? "-" : all;
}

inline bool is_table(const Json& value) {
    return value.array() && !value.array()->empty() && value.array()->front().is_object();
}

inline std::string table_text(const std::string& title, const Json& table) {
    const auto& columns = *table.array()->front().members();
    std::vector<std::vector<std::string>> cells{{}};
    std::vector<bool> right;
    for (const auto& column : columns) {
        cells[0].push_back(column.key);
        right.push_back(column.value.number().has_value());
    }
    for (const Json& row : *table.array()) {
        cells.emplace_back();
        for (const auto& member : *row.members())
            cells.back().push_back(value_text(member.key, member.value));
    }
    std::vector<std::size_t> width(columns.size());
    for (const auto& row : cells) {
        for (std::size_t i = 0; i < std::min(row.size(), width.size()); ++i)
            width[i] = std::max(width[i], row[i].size());
    }
    std::string out = title + "\n";
    for (const auto& row : cells) {
        std::string line = " ";
        for (std::size_t i = 0; i < std::min(row.size(), width.size()); ++i)
            line += right[i] ? moegrad::format(" {:>{}}", row[i], width[i])
                             : moegrad::format(" {:<{}}", row[i], width[i]);
        while (line.ends_with(' ')) line.pop_back();
        out += line + "\n";
    }
    return out;
}

}  // namespace detail

/// The whole object: notes and warnings are lists at its end.
inline Json inspection_json(const Inspection& inspection) {
    Json all = Json::object();
    for (const auto& member : *inspection.json.members()) all.add(member.key, member.value);
    all.add("notes", detail::word_list(inspection.notes));
    all.add("warnings", detail::word_list(inspection.warnings));
    return all;
}

inline std::string inspection_text(const Inspection& inspection) {
    std::size_t width = 7;
    for (const auto& member : *inspection.json.members()) {
        if (!detail::is_table(member.value)) width = std::max(width, member.key.size());
    }
    const auto line = [&](const std::string& key, const std::string& text) {
        return moegrad::format("{:<{}}  {}\n", key, width, text);
    };
    std::string out;
    for (const auto& member : *inspection.json.members()) {
        out += detail::is_table(member.value)
                   ? detail::table_text(member.key, member.value)
                   : line(member.key, detail::value_text(member.key, member.value));
    }
    for (const auto& note : inspection.notes) out += line("note", printable(note, 400));
    for (const auto& warning : inspection.warnings) out += line("warning", printable(warning, 1000));
    return out;
}

}  // namespace moegrad
