#pragma once
// drop_row: the mask of ops/dropout.hpp on one row.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/ops/dropout.hpp>

namespace moegrad::cpu {

namespace detail {

/// Columns whose words are drawn in one vectorised loop.
inline constexpr Index kDropColumns = 64;

/// Words of `groups` groups of four columns from column `c` on: words[c % 4][group].
inline void draw_words(const DropoutMask& mask, std::int32_t sample, std::int32_t position, Index c,
                       Index groups, std::uint32_t (&words)[4][kDropColumns / 4]) {
    const DropoutMask local = mask;  // a copy that the stores below cannot alias
    const auto first = static_cast<std::uint32_t>(c / 4);
    for (Index i = 0; i < groups; ++i) {
        const PhiloxCounter four =
            dropout_words(local, sample, position, first + static_cast<std::uint32_t>(i));
        for (std::size_t j = 0; j < 4; ++j) words[j][i] = four[j];
    }
}

}  // namespace detail

/// y[c] = keep(c) x[c] / (1 - rate), or y[c] += that, for c in [0, D). x and y may be the same row.
template <class Real>
inline void drop_row(const DropoutMask& mask, std::int32_t sample, std::int32_t position, const Real* x,
                     Real* y, Index D, Write write) {
    const Real scale = Real(mask.scale);
    std::uint32_t words[4][detail::kDropColumns / 4];
    for (Index c = 0; c < D; c += detail::kDropColumns) {
        const Index columns = std::min(detail::kDropColumns, D - c);
        detail::draw_words(mask, sample, position, c, (columns + 3) / 4, words);
        for (Index j = 0; j < columns; ++j) {
            const bool keep = words[j % 4][j / 4] < mask.threshold;
            put(y[c + j], keep ? x[c + j] * scale : Real(0), write);
        }
    }
}

}  // namespace moegrad::cpu
