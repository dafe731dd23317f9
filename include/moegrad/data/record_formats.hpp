#pragma once
// One JSON object of a training file to a TrainingRecord, for the formats without turns:
//   text        {"text": ".."}                                        all of it is supervised
//   completion  {"prompt": "..", "completion": ".."}                  the completion; the prompt may be "", not absent
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

/// What is trained on, after `before`. One without text is marked, for data.unsupervised to say what becomes of it; white
/// space alone is text where no end token follows.
inline void add_answer(const JsonRef& answer, const char* before, bool ended, TrainingRecord& record) {
    const std::string& text = answer.string();
    if (ended ? trimmed(text).empty() : text.empty()) record.unanswered = answer.place();
    record.add(before + text, true);
}

inline TrainingRecord completion_record(const JsonRef& line, Index number, bool whole_text) {
    TrainingRecord record = open_record(line, number);
    if (!whole_text) {
        const auto prompt = line.find("prompt");
        if (!prompt || prompt->is_null()) {
            throw Error{ErrorCode::data, line.place() + ": prompt", "a string",
                        prompt ? "null" : "no such key", "a record without a prompt has \"prompt\": \"\""};
        }
        record.add(prompt->string());
    }
    add_answer(line.at(whole_text ? "text" : "completion"), "", false, record);
    return record;
}

inline TrainingRecord instruction_record(const JsonRef& line, Index number, AnswerForm form,
                                         const SpecialNames& names) {
    TrainingRecord record = open_record(line, number);
    AnswerItem item;
    item.question = required_text(line, "instruction");
    item.context = text_at(line, "input");
    record.add(answer_prompt(item, form));
    add_answer(line.at("output"), "", true, record);
    if (!names.eos.empty()) record.add_special(names.eos, true);
    return record;
}

inline TrainingRecord question_record(const JsonRef& line, Index number, const SpecialNames& names) {
    TrainingRecord record = open_record(line, number);
    AnswerItem item;
    item.question = required_text(line, "question");
    item.context = text_at(line, "context");
    const auto answers = line.find_value("answers");
    if (answers && answers->array().empty()) answers->fail("at least one answer");
    record.add(answer_prompt(item, AnswerForm::qa));
    add_answer(answers ? answers->item(0) : line.at("answer"), " ", true, record);
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
