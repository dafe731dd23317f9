#pragma once
// Classification from TSV files: fields between tabs, quotes are text, one record a line, empty lines skipped.
//   no columns given   CoLA (4 fields, the second 0 or 1, no header) and RTE (header index, sentence1, sentence2, label)
//                      as data/glue_items.hpp reads them, put as eval puts them
//   columns            "text=3, label=1" by number from 0, or "text=sentence, label=label" by the names in a header line;
//                      `label` must be there, `id` may be, any other name is a placeholder of the prompt
//   labels             "0=unacceptable, 1=acceptable": what is trained on for a label; a label that is not there is an
//                      error. None given: the label as it stands
//   prompt             "Sentence: {text}\nGrammar:"; \n and \t are a line end and a tab. None given: "{text}\nLabel:"
// The first line is a header when columns go by names, or when its label field is "label". Supervised: a space and the
// label's text.

#include <moegrad/data/data_options.hpp>
#include <moegrad/data/glue_items.hpp>
#include <moegrad/data/record_formats.hpp>

#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

namespace detail {

/// "a=x, b=y" in order; names once.
inline std::vector<std::pair<std::string, std::string>> named_values(std::string_view text, const char* key) {
    std::vector<std::pair<std::string, std::string>> all;
    while (!trimmed(text).empty()) {
        const std::size_t comma = text.find(',');
        const std::string_view part = text.substr(0, comma);
        text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
        const std::size_t equals = part.find('=');
        const std::string name(trimmed(part.substr(0, equals)));
        if (equals == std::string_view::npos || name.empty())
            throw Error{ErrorCode::config, key, "name=value, name=value, ..", std::string(part)};
        for (const auto& [known, value] : all) {
            if (known == name) throw Error{ErrorCode::config, key, "each name once", name};
        }
        all.emplace_back(name, std::string(trimmed(part.substr(equals + 1))));
    }
    return all;
}

struct TabLine {
    std::vector<std::string_view> field;
    std::string place;
    Index number = 0;  // from 1
};

inline constexpr std::size_t kLongestLine = std::size_t{64} << 20;

/// Every line that is not empty, split at tabs. The first is looked at for a byte order mark.
inline std::vector<TabLine> read_tab_file(std::string_view text, const std::string& path) {
    std::vector<TabLine> lines;
    if (text.starts_with("\xEF\xBB\xBF"))
        throw Error{ErrorCode::data, path + ":1", "text", "a UTF-8 byte order mark",
                    "save the file without it"};
    for (Index number = 1; !text.empty(); ++number) {
        const std::size_t end = text.substr(0, kLongestLine + 1).find('\n');
        std::string_view line = text.substr(0, end == std::string_view::npos ? kLongestLine + 1 : end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        TabLine one{{}, moegrad::format("{}:{}", path, number), number};
        if (line.size() > kLongestLine) {
            throw Error{ErrorCode::data, one.place,
                        moegrad::format("a line of at most {} bytes", kLongestLine), "more"};
        }
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.empty()) continue;
        if (!is_utf8(line)) throw Error{ErrorCode::data, one.place, "UTF-8 text", printable(line)};
        for (std::size_t tab = line.find('\t'); tab != std::string_view::npos; tab = line.find('\t')) {
            one.field.push_back(line.substr(0, tab));
            line.remove_prefix(tab + 1);
        }
        one.field.push_back(line);
        lines.push_back(std::move(one));
    }
    if (lines.empty()) throw Error{ErrorCode::data, path, "at least one line", "none"};
    return lines;
}

/// Columns by name -> position.
struct TabColumns {
    std::map<std::string, std::size_t> at;
    bool header = false;
    std::size_t label() const { return at.at("label"); }
};

inline TabColumns resolve_columns(const std::string& columns, const TabLine& first) {
    TabColumns result;
    for (const auto& [name, where] : named_values(columns, "data.columns")) {
        char* end = nullptr;
        const unsigned long number = std::strtoul(where.c_str(), &end, 10);
        const bool numeric =
            !where.empty() && *end == '\0' && where.find_first_not_of("0123456789") == std::string::npos;
        std::size_t position = numeric && where.size() < 7 ? number : first.field.size();
        for (std::size_t i = 0; i < first.field.size() && !numeric; ++i) {
            if (first.field[i] == where) position = i;
        }
        if (position >= first.field.size()) {
            throw Error{ErrorCode::config, "data.columns",
                        moegrad::format("a column of {} ({} fields)", first.place, first.field.size()),
                        name + "=" + where, "columns count from 0, or go by the names of a header line"};
        }
        result.header = result.header || !numeric;
        result.at[name] = position;
    }
    if (!result.at.contains("label"))
        throw Error{ErrorCode::config, "data.columns", "a column for label", columns, "text=3, label=1"};
    result.header = result.header || first.field[result.label()] == "label";
    return result;
}

/// \n and \t as two characters of a configuration are a line end and a tab.
inline std::string unescaped(const std::string& text) {
    return replaced(replaced(text, "\\n", "\n"), "\\t", "\t");
}

/// {name} becomes the field of that column.
inline std::string filled_prompt(const std::string& prompt, const TabLine& line, const TabColumns& columns) {
    std::string out;
    for (std::size_t at = 0; at < prompt.size();) {
        const std::size_t open = prompt.find('{', at), close = prompt.find('}', open);
        if (close == std::string::npos) return out + prompt.substr(at);
        out += prompt.substr(at, open - at);
        const std::string name = prompt.substr(open + 1, close - open - 1);
        const auto column = columns.at.find(name);
        if (column == columns.at.end() || name == "label") {
            throw Error{ErrorCode::config, "data.prompt", "columns in braces, not the label",
                        "{" + name + "}", "name the column in data.columns"};
        }
        out += line.field[column->second];
        at = close + 1;
    }
    return out;
}

/// The text that is trained on for the label of a line.
inline std::string label_text(const TabLine& line, const TabColumns& columns,
                              const std::vector<std::pair<std::string, std::string>>& labels) {
    const std::string label(line.field[columns.label()]);
    std::string known;
    for (const auto& [name, text] : labels) {
        if (name == label) return text;
        known += (known.empty() ? "" : " or ") + name;
    }
    if (!labels.empty() || label.empty())
        throw Error{ErrorCode::data, line.place, labels.empty() ? "a label" : "label " + known,
                    printable(label)};
    return label;
}

inline std::vector<TrainingRecord> read_column_records(const std::vector<TabLine>& lines,
                                                       const DataOptions& options) {
    const TabColumns columns = resolve_columns(options.columns, lines.front());
    const auto labels = named_values(options.labels, "data.labels");
    const std::string prompt = options.prompt.empty() ? "{text}\nLabel:" : unescaped(options.prompt);
    std::vector<TrainingRecord> records;
    for (std::size_t i = columns.header ? 1 : 0; i < lines.size(); ++i) {
        const TabLine& line = lines[i];
        if (line.field.size() != lines.front().field.size()) {
            throw Error{ErrorCode::data, line.place,
                        moegrad::format("{} fields between tabs, as in line {}", lines.front().field.size(),
                                        lines.front().number),
                        moegrad::format("{}", line.field.size())};
        }
        TrainingRecord record;
        record.place = line.place;
        record.named = columns.at.contains("id");
        record.id = record.named ? std::string(line.field[columns.at.at("id")])
                                 : moegrad::format("{}", records.size() + 1);
        record.add(filled_prompt(prompt, line, columns));
        record.add(" " + label_text(line, columns, labels), true);
        records.push_back(std::move(record));
    }
    return records;
}

}  // namespace detail
}  // namespace moegrad
