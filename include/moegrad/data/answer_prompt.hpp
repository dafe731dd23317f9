#pragma once
// What a question that is answered in free text looks like to the model, in training and in evaluation:
//   instruct  LLM-Adapters' prompt with its indentation
//   alpaca    the plain Alpaca prompt
//   gsm8k     "Question: {question}\nAnswer:"
//   qa        "{context}\nQuestion: {question}\nAnswer:"

#include <moegrad/data/answer_items.hpp>

#include <string>
#include <string_view>

namespace moegrad {

enum class AnswerForm { instruct, alpaca, gsm8k, qa };

inline AnswerForm answer_form(std::string_view name) {
    if (name == "instruct") return AnswerForm::instruct;
    if (name == "alpaca") return AnswerForm::alpaca;
    if (name == "gsm8k") return AnswerForm::gsm8k;
    if (name == "qa") return AnswerForm::qa;
    throw Error{ErrorCode::config, "--format", "instruct, alpaca, gsm8k or qa", std::string(name)};
}

inline std::string answer_prompt(const AnswerItem& item, AnswerForm form) {
    const bool input = !item.context.empty();
    if (form == AnswerForm::gsm8k || form == AnswerForm::qa) {
        return (input ? item.context + "\n" : "") + "Question: " + item.question + "\nAnswer:";
    }
    const std::string indent = form == AnswerForm::instruct ? std::string(16, ' ') : "";
    // Theirs ends the first sentence with a space where there is no input.
    std::string prompt = "Below is an instruction that describes a task";
    prompt +=
        input ? ", paired with an input that provides further context. Write a response that appropriately "
                "completes the request."
              : ". Write a response that appropriately completes the request.";
    if (!input && form == AnswerForm::instruct) prompt += " ";
    const auto section = [&](const char* name, const std::string& text) {
        prompt += "\n\n" + indent + "### " + name + ":\n" + indent + text;
    };
    section("Instruction", item.question);
    if (input) section("Input", item.context);
    section("Response", "");
    return prompt;
}

}  // namespace moegrad
