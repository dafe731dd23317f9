#pragma once
// What a multiple-choice question looks like to the model: contexts, continuations, and the text that normalised scores
// count. Forms and rules are those of EleutherAI's lm-evaluation-harness; the continuation begins with one space.
//   plain (world)  "{context} {question}"                          choices
//   arc, piqa      "Question: {question}\nAnswer:"                 choices
//   openbookqa     "{question}"                                    choices
//   boolq          "{context}\nQuestion: {question}?\nAnswer:"     choices (yes, no)
//   siqa           "Q: {context} {question}\nA:"                   choices
//   hellaswag      the context, cleaned                            choices, cleaned
//   csqa           "Question: {question}\nA. ..\nB. ..\nAnswer:"   letters
//   winogrande     one context per choice: the sentence up to its "_" + choice; the text after it is scored
//   cola, rte      as their tasks there ("Does this sentence make sense?", "True or False?")
// HellaSwag files here hold the joined context, so its second half is not capitalised as the harness does.
// ARC, OpenBookQA, HellaSwag and PIQA are quoted by acc and acc_norm, the others by acc, CoLA by Matthews' correlation.
// letter: any of these with the choices listed ("A. .."), and the letters as continuations.

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <moegrad/data/choice_items.hpp>

namespace moegrad {

enum class ChoiceFormat { world, arc, openbookqa, boolq, piqa, siqa, hellaswag, csqa, winogrande, cola, rte };
enum class ChoiceStyle { continuation, letter };

struct ChoicePrompt {
    std::vector<std::string> context;       // one, or one per choice
    std::vector<std::string> continuation;  // one per choice
    std::vector<std::string> counted;       // the text acc_norm divides by the length of

    const std::string& context_of(std::size_t choice) const {
        return context.size() == 1 ? context.front() : context[choice];
    }
};

struct ChoiceFormatName {
    const char* name;
    ChoiceFormat format;
};
inline constexpr ChoiceFormatName kChoiceFormats[] = {{"world", ChoiceFormat::world},
                                                      {"plain", ChoiceFormat::world},
                                                      {"arc_easy", ChoiceFormat::arc},
                                                      {"arc_challenge", ChoiceFormat::arc},
                                                      {"openbookqa", ChoiceFormat::openbookqa},
                                                      {"boolq", ChoiceFormat::boolq},
                                                      {"piqa", ChoiceFormat::piqa},
                                                      {"siqa", ChoiceFormat::siqa},
                                                      {"hellaswag", ChoiceFormat::hellaswag},
                                                      {"csqa", ChoiceFormat::csqa},
                                                      {"winogrande", ChoiceFormat::winogrande},
                                                      {"cola", ChoiceFormat::cola},
                                                      {"rte", ChoiceFormat::rte}};

inline ChoiceFormat choice_format(std::string_view name) {
    std::string all;
    for (const auto& known : kChoiceFormats) {
        if (name == known.name) return known.format;
        all += (all.empty() ? "" : ", ") + std::string(known.name);
    }
    throw Error{ErrorCode::config, "--format", all, std::string(name)};
}

namespace detail {

inline std::string_view trimmed(std::string_view text) {
    constexpr std::string_view blank = " \t\n\r\v\f";
    const std::size_t begin = text.find_first_not_of(blank);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

/// Every `what` becomes `by`, from the left, each place once.
inline std::string replaced(std::string_view text, std::string_view what, std::string_view by) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t next = text.find(what, at);
        out += text.substr(at, next - at);
        if (next == std::string_view::npos) break;
        out += by;
        at = next + what.size();
    }
    return out;
}

/// The harness's cleaning of HellaSwag: " [title]" ends a sentence, brackets go, double spaces become one.
inline std::string clean_hellaswag(std::string_view text) {
    const std::string titled = replaced(trimmed(text), " [title]", ". ");
    std::string out;
    for (std::size_t at = 0; at < titled.size(); ++at) {
        const std::size_t close = titled[at] == '[' ? titled.find_first_of("]\n", at) : std::string::npos;
        if (close != std::string::npos && titled[close] == ']') {
            at = close;
        } else {
            out += titled[at];
        }
    }
    return replaced(out, "  ", " ");
}

inline std::string joined(const std::string& a, const std::string& b) {
    return a.empty() || b.empty() ? a + b : a + " " + b;
}

inline std::string listed(const std::vector<std::string>& choices) {
    std::string text;
    for (std::size_t i = 0; i < choices.size(); ++i) {
        text += moegrad::format("\n{}. {}", static_cast<char>('A' + i), choices[i]);
    }
    return text;
}

inline std::string question_mark(std::string question) {
    return question.ends_with('?') ? question : question + "?";
}

/// The text before the place where the answer goes, without the cue ("\nAnswer:").
inline std::string choice_stem(const ChoiceItem& item, ChoiceFormat format) {
    switch (format) {
        case ChoiceFormat::arc:
        case ChoiceFormat::piqa: return "Question: " + item.question;
        case ChoiceFormat::csqa: return "Question: " + std::string(trimmed(item.question));
        case ChoiceFormat::boolq: return item.context + "\nQuestion: " + question_mark(item.question);
        case ChoiceFormat::siqa: return "Q: " + item.context + " " + item.question;
        case ChoiceFormat::hellaswag: return clean_hellaswag(joined(item.context, item.question));
        case ChoiceFormat::cola: return item.question + "\nQuestion: Does this sentence make sense?";
        case ChoiceFormat::rte: return item.context + "\nQuestion: " + item.question + " True or False?";
        default: return joined(item.context, item.question);
    }
}

inline const char* choice_cue(ChoiceFormat format) {
    switch (format) {
        case ChoiceFormat::world:
        case ChoiceFormat::openbookqa:
        case ChoiceFormat::hellaswag: return "";
        case ChoiceFormat::siqa: return "\nA:";
        default: return "\nAnswer:";
    }
}

inline ChoicePrompt winogrande_prompt(const ChoiceItem& item) {
    const std::string sentence = joined(item.context, item.question);
    const std::size_t gap = sentence.find('_');
    if (gap == std::string::npos) {
        throw Error{ErrorCode::data, "question " + item.id, "a sentence with a _ where the choice goes",
                    sentence};
    }
    ChoicePrompt prompt;
    const std::string rest(trimmed(std::string_view(sentence).substr(gap + 1)));
    for (const std::string& choice : item.choices) {
        prompt.context.push_back(sentence.substr(0, gap) + choice);
        prompt.continuation.push_back(" " + rest);
        prompt.counted.push_back(rest);
    }
    return prompt;
}

}  // namespace detail

inline ChoicePrompt choice_prompt(const ChoiceItem& item, ChoiceFormat format,
                                  ChoiceStyle style = ChoiceStyle::continuation) {
    if (format == ChoiceFormat::winogrande && style == ChoiceStyle::continuation)
        return detail::winogrande_prompt(item);
    ChoicePrompt prompt;
    std::string context = detail::choice_stem(item, format);
    const bool letters = style == ChoiceStyle::letter || format == ChoiceFormat::csqa;
    if (letters) context += detail::listed(item.choices);
    const std::string cue = detail::choice_cue(format);
    prompt.context = {context + (letters && cue.empty() ? "\nAnswer:" : cue)};
    for (std::size_t i = 0; i < item.choices.size(); ++i) {
        std::string text = letters                             ? std::string(1, static_cast<char>('A' + i))
                           : format == ChoiceFormat::hellaswag ? detail::clean_hellaswag(item.choices[i])
                                                               : item.choices[i];
        prompt.continuation.push_back(" " + text);
        prompt.counted.push_back(std::move(text));
    }
    return prompt;
}

}  // namespace moegrad
