#pragma once
// One JSON object of a training file to a TrainingRecord, for the formats without turns:
//   text        {"text": ".."}                                        all of it is supervised
//   completion  {"prompt": "..", "completion": ".."}                  the completion
//   alpaca      {"instruction": "..", "input": "", "output": ".."}    the output and an end token; Alpaca's prompt
//   instruct    the same keys with the prompt of LLM-Adapters
//   qa          {"context": "..", "question": "..", "answer": ".."}   " answer" and an end token; answers: the first
//   choice      {"question": "..", "choices": [..], "answer": 0}      " right choice", put as eval puts it
// Prompts are those of data/answer_prompt.hpp and data/choice_prompt.hpp, so training and evaluation agree.

#include <moegrad/data/answer_prompt.hpp>
#include <moegrad/data/choice_prompt.hpp>
#include <moegrad/data/training_record.hpp>

#include <string>
#include <utility>
#include <vector>

namespace moegrad {

namespace detail {

/// id (a string or a whole number), file:line.
inline TrainingRecord open_record(const JsonRef& line, Index number) {
    TrainingRecord record;
    record.place = line.place();
    record.id = moegrad::format("{}", number);
    if (const auto id = line.find_value("id")) {
        const auto whole = id->value().integer();
        record.id = whole ? moegrad::format("{}", *whole) : id->string();
        record.named = true;
    }
    return record;
}

inline std::string text_at(const JsonRef& line, const char* key) {
    const auto found = line.find_value(key);
    return found ? found->string() : std::string();
}

/// A text that must be there and must not be empty.
inline std::string required_text(const JsonRef& line, const char* key) {
    const JsonRef found = line.at(key);
    if (found.string().empty()) found.fail("some text");
    return found.string();
}

inline TrainingRecord completion_record(const JsonRef& line, Index number, bool whole_text) {
    TrainingRecord record = open_record(line, number);
    if (!whole_text) record.add(text_at(line, "prompt"));
    record.add(required_text(line, whole_text ? "text" : "completion"), true);
    return record;
}

inline TrainingRecord instruction_record(const JsonRef& line, Index number, AnswerForm form,
                                         const SpecialNames& names) {
    TrainingRecord record = open_record(line, number);
    AnswerItem item;
    item.question = required_text(line, "instruction");
    item.context = text_at(line, "input");
    record.add(answer_prompt(item, form));
    record.add(required_text(line, "output"), true);
    if (!names.eos.empty()) record.add_special(names.eos, true);
    return record;
}

inline TrainingRecord question_record(const JsonRef& line, Index number, const SpecialNames& names) {
    TrainingRecord record = open_record(line, number);
    AnswerItem item;
    item.question = required_text(line, "question");
    item.context = text_at(line, "context");
    std::string answer;
    if (const auto answers = line.find_value("answers")) {
        if (answers->array().empty()) answers->fail("at least one answer");
        answer = answers->item(0).string();
    } else {
        answer = required_text(line, "answer");
    }
    record.add(answer_prompt(item, AnswerForm::qa));
    record.add(" " + answer, true);
    if (!names.eos.empty()) record.add_special(names.eos, true);
    return record;
}

/// A question and its right choice. A winogrande item is its sentence with the choice; the text after it is supervised.
inline TrainingRecord choice_record(const ChoiceItem& item, ChoiceFormat format, TrainingRecord record) {
    const ChoicePrompt prompt = choice_prompt(item, format);
    const auto right = static_cast<std::size_t>(item.answer);
    record.add(prompt.context_of(right));
    record.add(prompt.continuation[right], true);
    return record;
}

}  // namespace detail

}  // namespace moegrad
