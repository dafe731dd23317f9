#pragma once
// Multiple-choice questions from JSONL, one object a line:
//   {"id": "q7", "domain": "people", "level": 2, "context": "...", "question": "...", "choices": ["..", ".."],
//    "answer": 0, "fact": [[b, e], ...]}
// choices and answer must be there, and context or question; the rest may be absent, "task" (a number) too. `fact` are byte ranges [b, e) of
// prompt, one space, right choice. A line that does not fit is an error that names file:line and the key.

#include <moegrad/data/task_ids.hpp>

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace moegrad {

struct ChoiceItem {
    std::string id, domain;
    int level = 0;
    std::string context, question;
    std::vector<std::string> choices;
    int answer = 0;                             // index into choices
    std::vector<std::pair<Index, Index>> fact;  // [begin, end) in bytes, ascending
    std::int32_t task = kNoTask;
};

inline constexpr Index kLongestText = Index{1} << 30;

/// Ascending ranges that do not overlap.
inline std::vector<std::pair<Index, Index>> read_byte_ranges(const JsonRef& list) {
    std::vector<std::pair<Index, Index>> ranges;
    Index last = 0;
    for (std::size_t i = 0; i < list.array().size(); ++i) {
        const JsonRef range = list.item(i);
        if (range.array().size() != 2) range.fail("[begin, end)");
        const Index begin = range.item(0).integer(last, kLongestText);
        last = range.item(1).integer(begin + 1, kLongestText);
        ranges.emplace_back(begin, last);
    }
    return ranges;
}

/// `fallback_id` is for lines without an id.
inline ChoiceItem read_choice_item(const JsonRef& line, std::string fallback_id) {
    ChoiceItem item;
    const auto text = [&](const char* key) {
        const auto found = line.find_value(key);
        return found ? found->string() : std::string();
    };
    item.id = line.find_value("id") ? text("id") : std::move(fallback_id);
    item.domain = text("domain");
    item.context = text("context");
    item.question = text("question");
    if (const auto level = line.find_value("level"))
        item.level = static_cast<int>(level->integer(0, 1 << 20));
    item.task = task_of(line, {});
    if (item.context.empty() && item.question.empty()) line.fail("a context or a question");
    const JsonRef choices = line.at("choices");
    const std::size_t count = choices.array().size();
    if (count < 2 || count > 26) choices.fail("2 to 26 choices");
    for (std::size_t i = 0; i < count; ++i) {
        item.choices.push_back(choices.item(i).string());
        if (item.choices.back().empty()) choices.item(i).fail("a text");
    }
    item.answer = static_cast<int>(line.at("answer").integer(0, static_cast<Index>(count) - 1));
    if (const auto fact = line.find_value("fact")) item.fact = read_byte_ranges(*fact);
    return item;
}

/// Throws where there is no such file, with the verb that writes one of this name.
inline void require_questions(const std::string& path) {
    const std::filesystem::path file(path);
    std::error_code problem;
    if (std::filesystem::exists(file, problem) || problem) return;
    const std::string name = file.filename().string(), folder = file.parent_path().string();
    const std::string out = " --out " + (folder.empty() ? "." : folder) + "`";
    const std::string writes = name == "questions.jsonl"            ? "`moegrad world" + out
                               : name.ends_with("-questions.jsonl") ? "`moegrad tasks --from DATA" + out
                                                                    : "";
    throw Error{ErrorCode::file, path, "a readable file", "No such file or directory",
                writes.empty() ? "" : writes + " writes it"};
}

inline std::vector<ChoiceItem> read_choice_items(const std::string& path) {
    require_questions(path);
    std::vector<ChoiceItem> items;
    read_json_lines(path, [&](const JsonRef& line) {
        items.push_back(read_choice_item(line, moegrad::format("{}", items.size() + 1)));
    });
    if (items.empty()) throw Error{ErrorCode::data, path, "at least one question", "none"};
    return items;
}

}  // namespace moegrad
