#pragma once
// The name that looks most like what somebody typed, for "did you mean"; none where none looks like it.

#include <algorithm>
#include <string>
#include <vector>

namespace moegrad {

/// Levenshtein distance.
inline std::size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
            diagonal = above;
        }
    }
    return row[b.size()];
}

/// Whether a slip of the hand explains `typed`: at most a third of the longer word's letters differ, rounded up.
inline bool is_near(std::size_t distance, const std::string& typed, const std::string& name) {
    return 3 * distance <= std::max(typed.size(), name.size()) + 2;
}

/// The first of `names` at the smallest distance; empty when none is near.
inline std::string nearest(const std::string& text, const std::vector<std::string>& names) {
    std::string best;
    std::size_t distance = ~std::size_t{0};
    for (const std::string& name : names) {
        const std::size_t d = edit_distance(text, name);
        if (d >= distance) continue;
        distance = d;
        best = name;
    }
    return is_near(distance, text, best) ? best : "";
}

/// The distance to a key with or without its table: "train.steps" is also typed "steps".
inline std::size_t key_distance(const std::string& typed, const std::string& key) {
    return std::min(edit_distance(typed, key), edit_distance(typed, key.substr(key.find('.') + 1)));
}

/// "did you mean `near`? more", a hint's two sentences, where there is something near.
inline std::string did_you_mean(const std::string& near, const std::string& more = "") {
    if (near.empty()) return more;
    return "did you mean `" + near + "`?" + (more.empty() ? "" : " " + more);
}

}  // namespace moegrad
