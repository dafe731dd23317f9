#pragma once
// Judging a text that a model wrote:
//   exact_match, answer_f1   SQuAD's: lower case, no punctuation, no articles, single spaces; F1 over the bags of words
//   last_number              GSM8K: the last number of the text, "1,234.50" and "$ 1234.5" being one
//   first_label              the commonsense sets of LLM-Adapters: the first of answer1..5, ending1..4, option1..2,
//                            solution1..2 or true/false in the text

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <moegrad/core/error.hpp>

namespace moegrad {

namespace detail {

inline bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
inline bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}
/// string.punctuation of Python: every printable ASCII character that is no letter, digit or space.
inline bool is_punctuation(char c) {
    return c > ' ' && c < 127 && !is_digit(c) && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z');
}

}  // namespace detail

/// The words that SQuAD compares.
inline std::vector<std::string> answer_words(std::string_view text) {
    std::vector<std::string> words(1);
    for (const char c : text) {
        if (detail::is_blank(c)) {
            if (!words.back().empty()) words.emplace_back();
        } else if (!detail::is_punctuation(c)) {
            words.back() += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        }
    }
    std::erase_if(words, [](const std::string& word) {
        return word.empty() || word == "a" || word == "an" || word == "the";
    });
    return words;
}

inline bool exact_match(std::string_view prediction, std::string_view truth) {
    return answer_words(prediction) == answer_words(truth);
}

/// 2 common / (words of both), common counted with multiplicity. Two empty answers agree.
inline double answer_f1(std::string_view prediction, std::string_view truth) {
    const auto p = answer_words(prediction), t = answer_words(truth);
    if (p.empty() || t.empty()) return p.empty() && t.empty() ? 1 : 0;
    auto left = t;
    std::size_t common = 0;
    for (const std::string& word : p) {
        const auto found = std::find(left.begin(), left.end(), word);
        if (found == left.end()) continue;
        left.erase(found);
        ++common;
    }
    return 2 * static_cast<double>(common) / static_cast<double>(p.size() + t.size());
}

/// Digits with one optional point and sign, no commas, no zeros that mean nothing: "-1234.5". Nothing without a digit.
inline std::optional<std::string> last_number(std::string_view text) {
    std::size_t end = text.size();
    while (end > 0 && !detail::is_digit(text[end - 1])) --end;
    if (end == 0) return std::nullopt;
    std::size_t begin = end;
    bool point = false;
    const auto digit_before = [&](std::size_t i) { return i > 0 && detail::is_digit(text[i - 1]); };
    while (begin > 0) {
        const char c = text[begin - 1];
        const bool joins = (c == '.' && !point) || c == ',';
        if (!detail::is_digit(c) && !(joins && digit_before(begin - 1))) break;
        point = point || c == '.';
        --begin;
    }
    // ".50", where nothing but a blank or a sign stands before the point.
    const bool bare =
        !point && begin > 0 && text[begin - 1] == '.' &&
        (begin == 1 || detail::is_blank(text[begin - 2]) || text[begin - 2] == '$' || text[begin - 2] == '-');
    if (bare) --begin;
    std::string number;
    for (const char c : text.substr(begin, end - begin)) {
        if (c != ',') number += c;
    }
    if (bare) number.insert(0, "0");
    const std::size_t first = number.find_first_not_of('0');
    number.erase(0, first == std::string::npos ? number.size() - 1
                    : number[first] == '.'     ? first - 1
                                               : first);
    if (number.find('.') != std::string::npos) {
        while (number.ends_with('0')) number.pop_back();
        if (number.ends_with('.')) number.pop_back();
    }
    std::size_t sign = begin;
    while (sign > 0 && text[sign - 1] == '$') --sign;
    const bool negative =
        sign > 0 && text[sign - 1] == '-' && (sign < 2 || !detail::is_digit(text[sign - 2]));
    return negative && number != "0" ? "-" + number : number;
}

/// What "#### 1,234" of GSM8K says; without the mark the last number of the whole.
inline std::optional<std::string> gsm8k_answer(std::string_view answer) {
    const std::size_t mark = answer.rfind("####");
    return last_number(mark == std::string_view::npos ? answer : answer.substr(mark + 4));
}

/// The labels that a right answer is one of: answer1..answer5 for "answer3".
inline std::vector<std::string> label_family(const std::string& answer) {
    if (answer == "true" || answer == "false") return {"true", "false"};
    struct Family {
        const char* word;
        int count;
    };
    for (const Family& family : {Family{"answer", 5}, {"ending", 4}, {"option", 2}, {"solution", 2}}) {
        std::vector<std::string> labels;
        for (int i = 1; i <= family.count; ++i) labels.push_back(format("{}{}", family.word, i));
        if (std::find(labels.begin(), labels.end(), answer) != labels.end()) return labels;
    }
    throw Error{ErrorCode::data, "answer", "answer1..5, ending1..4, option1..2, solution1..2, true or false",
                "\"" + answer + "\""};
}

/// The index of the label that comes first in the text; -1 when none does.
inline int first_label(std::string_view text, const std::vector<std::string>& labels) {
    std::size_t best = std::string_view::npos;
    int found = -1;
    for (std::size_t i = 0; i < labels.size(); ++i) {
        const std::size_t at = text.find(labels[i]);
        if (at < best) {
            best = at;
            found = static_cast<int>(i);
        }
    }
    return found;
}

}  // namespace moegrad
