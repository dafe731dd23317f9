#pragma once
// Classification from the TSV files of GLUE as questions with two choices; fields are split at tabs only.
//   CoLA   source, label (1 acceptable), mark, sentence; no header       choices no, yes
//   RTE    index, sentence1, sentence2, label; one header line           choices True (entailment), False
// A line that does not fit is an error that names file:line.

#include <moegrad/data/choice_items.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace moegrad {

namespace detail {

/// `each(fields, place, number)` for every line, number from 1.
template <class Each>
void read_tab_lines(const std::string& path, std::size_t fields, const Each& each) {
    const MappedFile file(path);
    std::string_view rest = file.text();
    for (Index number = 1; !rest.empty(); ++number) {
        const std::size_t end = rest.find('\n');
        std::string_view line = rest.substr(0, end);
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.empty()) continue;
        std::vector<std::string_view> all(1, line);
        for (std::size_t tab = all.back().find('\t'); tab != std::string_view::npos;
             tab = all.back().find('\t')) {
            const std::string_view tail = all.back().substr(tab + 1);
            all.back() = all.back().substr(0, tab);
            all.push_back(tail);
        }
        const std::string place = moegrad::format("{}:{}", path, number);
        if (all.size() != fields) {
            throw Error{ErrorCode::data, place, moegrad::format("{} fields between tabs", fields),
                        moegrad::format("{}", all.size())};
        }
        if (!is_utf8(line)) throw Error{ErrorCode::data, place, "UTF-8 text", printable(line)};
        each(all, place, number);
    }
}

/// The index of `label` among the two names; an error at `place` otherwise.
inline int label_index(std::string_view label, std::string_view first, std::string_view second,
                       const std::string& place) {
    if (label == first) return 0;
    if (label == second) return 1;
    throw Error{ErrorCode::data, place, moegrad::format("label {} or {}", first, second), printable(label)};
}

}  // namespace detail

inline std::vector<ChoiceItem> read_cola_items(const std::string& path) {
    std::vector<ChoiceItem> items;
    detail::read_tab_lines(path, 4, [&](const auto& field, const std::string& place, Index number) {
        ChoiceItem item;
        item.id = moegrad::format("{}", number);
        item.question = std::string(field[3]);
        item.choices = {"no", "yes"};
        item.answer = detail::label_index(field[1], "0", "1", place);
        items.push_back(std::move(item));
    });
    return items;
}

inline std::vector<ChoiceItem> read_rte_items(const std::string& path) {
    std::vector<ChoiceItem> items;
    detail::read_tab_lines(path, 4, [&](const auto& field, const std::string& place, Index number) {
        if (number == 1) return;
        ChoiceItem item;
        item.id = std::string(field[0]);
        item.context = std::string(field[1]);
        item.question = std::string(field[2]);
        item.choices = {"True", "False"};
        item.answer = detail::label_index(field[3], "entailment", "not_entailment", place);
        items.push_back(std::move(item));
    });
    return items;
}

}  // namespace moegrad
