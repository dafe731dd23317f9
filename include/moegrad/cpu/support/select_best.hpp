#pragma once
// Selection of the best of some scores: higher first, equal ones (-0 equals 0) by the lower index.

#include <algorithm>
#include <vector>

#include <moegrad/core/view.hpp>

namespace moegrad::cpu {

/// Puts the r best of `rows` in front, in any order, the worst of them at place r - 1. score(row) holds no NaN.
template <class Score>
void select_best(std::vector<Index>& rows, Index r, Score score) {
    if (r < 1 || r > static_cast<Index>(rows.size())) return;
    std::nth_element(rows.begin(), rows.begin() + (r - 1), rows.end(), [&](Index a, Index b) {
        const auto x = score(a), y = score(b);
        return x != y ? x > y : a < b;
    });
}

}  // namespace moegrad::cpu
