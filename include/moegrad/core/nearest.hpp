#pragma once
// nearest: the name that looks most like what somebody typed, for "did you mean".

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

/// The first of `names` at the smallest distance; empty when there are none.
inline std::string nearest(const std::string& text, const std::vector<std::string>& names) {
    std::string best;
    std::size_t distance = ~std::size_t{0};
    for (const std::string& name : names) {
        const std::size_t d = edit_distance(text, name);
        if (d >= distance) continue;
        distance = d;
        best = name;
    }
    return best;
}

}  // namespace moegrad
