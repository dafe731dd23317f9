#pragma once
// The tasks of the evidence suite, as files that `train` and `compare` read:
//   NAME-train.jsonl, NAME-questions.jsonl      multiple choice; the small world
//   NAME-train.jsonl, NAME-heldout.jsonl        texts, {"id","domain","text"}: the last part of a file is held out
// What is asked is not in the training part: a question that stands there with the same choices, signs, case and order
// aside, is left out. HellaSwag has no training part here: of runs of items of one activity, which share scenes, every
// fifth is asked.

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <moegrad/data/choice_items.hpp>
#include <moegrad/data/mix.hpp>
#include <moegrad/data/plain_words.hpp>
#include <moegrad/data/world_files.hpp>

namespace moegrad {

struct ChoiceTask {
    const char *name, *train, *questions;  // files below the data folder; no questions: a split of `train`
};
inline constexpr ChoiceTask kChoiceTasks[] = {
    {"piqa", "mc/piqa.train.jsonl", "mc/piqa.val.jsonl"},
    {"openbookqa", "mc/openbookqa.train.jsonl", "mc/openbookqa.test.jsonl"},
    {"arc_easy", "mc/arc_easy.train.jsonl", "mc/arc_easy.test.jsonl"},
    {"hellaswag", "mc/hellaswag.val.jsonl", ""},
};

struct TextTask {
    const char *name, *file;
};
inline constexpr TextTask kTextTasks[] = {
    {"papers", "text/olmoe_domains/arxiv_texts.txt"},
    {"books", "text/olmoe_domains/b3g_texts.txt"},
    {"web", "text/olmoe_domains/c4_texts.txt"},
    {"code", "text/olmoe_domains/github_oss_with_stack_texts.txt"},
    {"wikipedia", "text/olmoe_domains/wikipedia_texts.txt"},
};

struct ChoiceParts {
    std::vector<ChoiceItem> train, questions;
    Index left_out = 0;
};

namespace detail {

/// Question and choices as sorted words only: the same for the same question however it is printed.
inline std::string question_key(const ChoiceItem& item) {
    const auto words = [](std::string_view text) {
        std::string all;
        for (const std::string& word : plain_words(text)) {
            const char c = word.front();
            const bool sign = word.size() == 1 && !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'));
            if (!sign) all += word + " ";
        }
        return all;
    };
    std::vector<std::string> choices;
    for (const std::string& choice : item.choices) choices.push_back(words(choice));
    std::sort(choices.begin(), choices.end());
    std::string key = words(item.context) + "|" + words(item.question);
    for (const std::string& choice : choices) key += "|" + choice;
    return key;
}

/// "Canoeing" of "Canoeing: Two women ..".
inline std::string_view activity_of(const ChoiceItem& item) {
    return std::string_view(item.context).substr(0, item.context.find(':'));
}

}  // namespace detail

/// Leaves questions out that stand in the training part.
inline ChoiceParts without_leaked(std::vector<ChoiceItem> train, std::vector<ChoiceItem> questions) {
    std::set<std::string> known;
    for (const ChoiceItem& item : train) known.insert(detail::question_key(item));
    const auto leaked = std::erase_if(
        questions, [&](const ChoiceItem& item) { return known.contains(detail::question_key(item)); });
    return {std::move(train), std::move(questions), static_cast<Index>(leaked)};
}

/// Every fifth run of items of one activity is asked.
inline ChoiceParts split_by_activity(const std::vector<ChoiceItem>& all) {
    std::vector<ChoiceItem> train, questions;
    for (std::size_t i = 0, run = 0; i < all.size(); ++i) {
        if (i > 0 && detail::activity_of(all[i]) != detail::activity_of(all[i - 1])) ++run;
        (run % 5 == 4 ? questions : train).push_back(all[i]);
    }
    return without_leaked(std::move(train), std::move(questions));
}

inline ChoiceParts read_choice_task(const ChoiceTask& task, const std::string& folder) {
    auto train = read_choice_items(folder + "/" + task.train);
    if (std::string_view(task.questions).empty()) return split_by_activity(train);
    return without_leaked(std::move(train), read_choice_items(folder + "/" + task.questions));
}

inline std::string choice_lines(const std::vector<ChoiceItem>& items) {
    std::string lines;
    for (const ChoiceItem& item : items) {
        Json json = Json::object();
        json.add("id", item.id);
        if (!item.context.empty()) json.add("context", item.context);
        if (!item.question.empty()) json.add("question", item.question);
        json.add("choices", Json(Json::Array(item.choices.begin(), item.choices.end())));
        json.add("answer", static_cast<std::int64_t>(item.answer));
        lines += write_json(json) + "\n";
    }
    return lines;
}

/// A text in windows of at most `most` bytes, cut behind a line end, else behind a blank, else between two characters; none is blank.
inline std::vector<std::string_view> text_windows(std::string_view text, std::size_t most) {
    std::vector<std::string_view> all;
    while (!text.empty()) {
        std::size_t length = std::min(most, text.size());
        if (length < text.size()) {
            const std::string_view head = text.substr(0, length);
            std::size_t cut = head.find_last_of('\n');
            if (cut == std::string_view::npos || cut < length / 2) cut = head.find_last_of(' ');
            const bool between_words = cut != std::string_view::npos && cut >= length / 2;
            if (between_words) length = cut + 1;
            while (!between_words && length > 1 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80)
                --length;
        }
        const std::string_view window = text.substr(0, length);
        if (window.find_first_not_of(" \t\r\n") != std::string_view::npos) all.push_back(window);
        text.remove_prefix(length);
    }
    return all;
}

inline std::string window_lines(const std::vector<std::string_view>& windows, const std::string& domain) {
    std::string lines;
    for (const std::string_view window : windows) {
        Json json = Json::object();
        json.add("id", format("{}-{}", domain, std::count(lines.begin(), lines.end(), '\n')));
        json.add("domain", domain);
        json.add("text", std::string(window));
        lines += write_json(json) + "\n";
    }
    return lines;
}

/// Closed-book questions as what the floor reads.
inline std::vector<ChoiceItem> choice_items_of(const std::vector<WorldQuestion>& questions) {
    std::vector<ChoiceItem> items;
    for (const WorldQuestion& question : questions) {
        ChoiceItem item;
        item.id = question.id;
        item.question = question.prompt.text();
        item.choices = question.choices;
        item.answer = static_cast<int>(question.answer);
        items.push_back(std::move(item));
    }
    return items;
}

}  // namespace moegrad
