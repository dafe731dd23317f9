#pragma once
// What a training file is read as: by data.format, by the ending of its name, by the keys of its first record; and the form
// in which choices are put, by data.prompt or by the file's name. All of it decides what is trained on, the name included.

#include <moegrad/data/choice_prompt.hpp>
#include <moegrad/data/data_options.hpp>
#include <moegrad/io/json_lines.hpp>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

namespace moegrad {

namespace detail {

inline constexpr const char* kArrayHint = "a JSON array becomes JSONL with jq -c '.[]'";

inline constexpr const char* kRecordFormats[] = {"text", "completion", "alpaca",  "instruct",
                                                 "qa",   "choice",     "messages"};

inline bool is_record_format(const std::string& name) {
    return std::find(std::begin(kRecordFormats), std::end(kRecordFormats), name) != std::end(kRecordFormats);
}

/// By the keys of a record.
inline std::string format_of_record(const JsonRef& line) {
    const auto has = [&](const char* key) { return line.find(key).has_value(); };
    if (has("messages") || has("conversations")) return "messages";
    if (has("instruction") && has("output")) return "alpaca";
    if (has("choices")) return "choice";
    if (has("completion")) return "completion";
    if (has("text")) return "text";
    if (has("question") && (has("answer") || has("answers"))) return "qa";
    std::string keys;
    for (const auto& member : line.members()) keys += (keys.empty() ? "" : ", ") + printable(member.key, 20);
    throw Error{
        ErrorCode::data, line.place(),
        "the keys of a format: text; prompt, completion; instruction, output; messages; question, choices, "
        "answer; question, answer",
        keys.empty() ? "no keys" : printable(keys, 160), "see docs/data.md; data.format names a format"};
}

/// The keys that a format reads; others are counted and said.
inline bool reads_key(const std::string& format, std::string_view key) {
    struct Keys {
        const char *format, *keys;  // between blanks
    };
    constexpr Keys known[] = {{"text", " text domain level fact "},
                              {"completion", " prompt completion domain level fact "},
                              {"alpaca", " instruction input output "},
                              {"instruct", " instruction input output "},
                              {"qa", " context question answer answers "},
                              {"choice", " context question choices answer domain level fact "},
                              {"messages", " messages conversations system train_on_turn "}};
    if (key == "id") return true;
    for (const Keys& keys : known) {
        if (format == keys.format)
            return std::string_view(keys.keys).find(" " + std::string(key) + " ") != std::string_view::npos;
    }
    return true;
}

/// What kind of file it is: "" is JSONL whose first record decides, "plain" is plain text.
inline std::string file_kind(const std::string& path, const std::string& format) {
    const bool lines = path.ends_with(".jsonl");
    if (format == "text" && !lines) return "plain";
    if (is_record_format(format) || format == "tsv") return format;
    if (format != "auto")
        throw Error{ErrorCode::config, "data.format",
                    "auto, text, completion, alpaca, instruct, qa, messages, choice or tsv", format};
    if (lines) return "";
    if (path.ends_with(".tsv")) return "tsv";
    for (const char* ending : {".json", ".csv", ".parquet", ".arrow", ".gz", ".zst", ".zip"}) {
        if (path.ends_with(ending)) {
            throw Error{ErrorCode::data, path, "a .jsonl, a .tsv or plain text", std::string("a ") + ending,
                        std::string(kArrayHint) + "; data.format says that it is something else"};
        }
    }
    return "plain";
}

/// The first line that is not blank.
inline std::string_view first_line(std::string_view text) {
    const std::size_t begin = std::min(text.find_first_not_of(" \t\r\n"), text.size());
    return text.substr(begin, text.find('\n', begin) - begin);
}

struct ChoiceForm {
    ChoiceFormat format;
    std::string why;  // "form arc_easy, by the file's name"
};

inline ChoiceForm choice_form(const std::string& path, const DataOptions& options) {
    if (!options.prompt.empty())
        return {choice_format(options.prompt), "form " + options.prompt + ", as asked"};
    const std::string file = path.substr(path.find_last_of('/') + 1);
    for (const auto& known : kChoiceFormats) {
        if (file.substr(0, file.find('.')) == known.name)
            return {known.format, moegrad::format("form {}, by the file's name", known.name)};
    }
    return {ChoiceFormat::world, moegrad::format("form world: no task is named {}; data.prompt names a form",
                                                 printable(file, 60))};
}

}  // namespace detail

/// Plain text, by data.format or the name of the file: one sequence, cut at data.max_length tokens.
inline bool is_plain_text(const std::string& path, const DataOptions& options) {
    return detail::file_kind(path, options.format) == "plain";
}

/// What a file is read as, in words: two files of the same bytes and the same kind train the same. Reads the first record.
inline std::string data_kind(const std::string& path, const DataOptions& options) {
    std::string kind = detail::file_kind(path, options.format);
    if (kind == "plain") return "plain text";
    if (kind.empty()) {
        const MappedFile file(path);
        read_json_lines_of(detail::first_line(file.text()), path,
                           [&](const JsonRef& line) { kind = detail::format_of_record(line); });
    }
    if (kind != "choice") return kind;
    const ChoiceFormat format = detail::choice_form(path, options).format;
    for (const auto& known : kChoiceFormats)
        if (known.format == format) return moegrad::format("choice, form {}", known.name);
    return kind;
}

}  // namespace moegrad
