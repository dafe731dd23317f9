#pragma once
// Training and evaluation texts from JSONL, one object a line:
//   {"id": "t12", "domain": "people", "level": 1, "prompt": "...", "completion": " ...", "fact": [[b, e], ...]}
//   {"id": "h3", "domain": "stories", "text": "...", "fact": [[b, e], ...]}
// The completion is what is supervised; a text is all completion. fact: byte ranges [b, e) of prompt + completion.
// id, domain, level, task (a number), prompt and fact may be absent. A line that does not fit is an error that names file:line and key.

#include <moegrad/data/choice_items.hpp>

#include <string>
#include <utility>
#include <vector>

namespace moegrad {

struct TextRecord {
    std::string id, domain;
    int level = 0;
    std::string prompt, completion;
    std::vector<std::pair<Index, Index>> fact;  // ascending
    std::string place;                          // file:line
    std::int32_t task = kNoTask;
};

/// `fallback_id` is for lines without an id.
inline TextRecord read_text_record(const JsonRef& line, std::string fallback_id) {
    TextRecord record;
    const auto text = [&](const char* key) {
        const auto found = line.find_value(key);
        return found ? found->string() : std::string();
    };
    record.place = line.place();
    record.id = line.find_value("id") ? text("id") : std::move(fallback_id);
    record.domain = text("domain");
    if (const auto level = line.find_value("level"))
        record.level = static_cast<int>(level->integer(0, 1 << 20));
    record.task = task_of(line, {});
    const auto whole = line.find_value("text");
    if (whole && (line.find_value("prompt") || line.find_value("completion")))
        whole->fail("either text, or prompt and completion");
    record.prompt = text("prompt");
    const JsonRef completion = whole ? *whole : line.at("completion");
    record.completion = completion.string();
    if (record.completion.empty()) completion.fail("some text to supervise");
    if (const auto fact = line.find_value("fact")) {
        record.fact = read_byte_ranges(*fact);
        const auto bytes = static_cast<Index>(record.prompt.size() + record.completion.size());
        if (!record.fact.empty() && record.fact.back().second > bytes)
            fact->fail(moegrad::format("ranges within the {} bytes of prompt and completion", bytes));
    }
    return record;
}

inline std::vector<TextRecord> read_text_records(const std::string& path) {
    std::vector<TextRecord> records;
    read_json_lines(path, [&](const JsonRef& line) {
        records.push_back(read_text_record(line, moegrad::format("{}", records.size() + 1)));
    });
    if (records.empty()) throw Error{ErrorCode::data, path, "at least one record", "none"};
    return records;
}

}  // namespace moegrad
