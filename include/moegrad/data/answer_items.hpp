#pragma once
// Questions that are answered in free text, from JSONL, one object a line, in one of three forms:
//   {"instruction": "..", "input": "", "answer": "answer3"}                     LLM-Adapters' commonsense sets
//   {"question": "..", "answer": ".. #### 18"}                                  GSM8K
//   {"context": "..", "question": "..", "answers": ["..", ".."]}                reading, any of the answers will do
// id, domain, level and task (a number) may be there. A line that does not fit is an error that names file:line and the key.

#include <moegrad/data/task_ids.hpp>

#include <string>
#include <utility>
#include <vector>

namespace moegrad {

struct AnswerItem {
    std::string id, domain;
    int level = 0;
    std::string context, question;     // an instruction is a question, its input the context
    std::vector<std::string> answers;  // at least one
    std::int32_t task = kNoTask;
};

inline AnswerItem read_answer_item(const JsonRef& line, std::string fallback_id) {
    AnswerItem item;
    const auto text = [&](const char* key) {
        const auto found = line.find_value(key);
        return found ? found->string() : std::string();
    };
    const bool instruction = line.find_value("instruction").has_value();
    item.id = line.find_value("id") ? text("id") : std::move(fallback_id);
    item.domain = text("domain");
    if (const auto level = line.find_value("level"))
        item.level = static_cast<int>(level->integer(0, 1 << 20));
    item.task = task_of(line, {});
    item.context = text(instruction ? "input" : "context");
    item.question = line.at(instruction ? "instruction" : "question").string();
    if (const auto answers = line.find_value("answers")) {
        for (std::size_t i = 0; i < answers->array().size(); ++i)
            item.answers.push_back(answers->item(i).string());
        if (item.answers.empty()) answers->fail("at least one answer");
    } else {
        item.answers.push_back(line.at("answer").string());
    }
    return item;
}

inline std::vector<AnswerItem> read_answer_items(const std::string& path) {
    std::vector<AnswerItem> items;
    read_json_lines(path, [&](const JsonRef& line) {
        items.push_back(read_answer_item(line, moegrad::format("{}", items.size() + 1)));
    });
    if (items.empty()) throw Error{ErrorCode::data, path, "at least one question", "none"};
    return items;
}

}  // namespace moegrad
