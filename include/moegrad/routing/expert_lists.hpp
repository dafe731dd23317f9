#pragma once
// Experts of every layer as a text: "0-5/2-3//7" is layer by layer, experts joined by '-'; a layer may have none.

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad {

/// Sorted experts of one layer.
using ExpertList = std::vector<Index>;

/// `place` names the option in errors; each expert below `experts` and once.
inline std::vector<ExpertList> expert_lists(const std::string& text, const std::string& place,
                                            Index experts) {
    const auto refuse = [&] {
        throw Error{ErrorCode::config, place,
                    format("layers joined by '/', in each experts 0 to {} joined by '-'", experts - 1),
                    "\"" + text + "\"", "as in 0-5/2-3; `moegrad lens` prints one"};
    };
    std::vector<ExpertList> all(1);
    Index number = -1;
    const auto take = [&] {
        auto& list = all.back();
        if (number < 0 || number >= experts || std::find(list.begin(), list.end(), number) != list.end())
            refuse();
        list.push_back(number);
        number = -1;
    };
    for (std::size_t i = 0; i <= text.size(); ++i) {
        const char c = i < text.size() ? text[i] : '/';
        if (c >= '0' && c <= '9') {
            number = std::min<Index>((number < 0 ? 0 : number) * 10 + (c - '0'), experts);
        } else if (c == '-') {
            take();
        } else if (c == '/') {
            if (number >= 0 || !all.back().empty()) take();
            std::sort(all.back().begin(), all.back().end());
            if (i < text.size()) all.emplace_back();
        } else {
            refuse();
        }
    }
    return all;
}

inline std::string expert_lists_text(const std::vector<ExpertList>& all) {
    std::string text;
    for (std::size_t l = 0; l < all.size(); ++l) {
        if (l > 0) text += "/";
        for (std::size_t i = 0; i < all[l].size(); ++i)
            text += (i == 0 ? "" : "-") + std::to_string(all[l][i]);
    }
    return text;
}

}  // namespace moegrad
