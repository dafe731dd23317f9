#pragma once
// drop_row: the mask of ops/dropout.hpp on one row.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/ops/dropout.hpp>

namespace moegrad::cpu {

/// y[c] = keep(c) x[c] / (1 - rate), or y[c] += that, for c in [0, D). x and y may be the same row.
template <class Real>
inline void drop_row(const DropoutMask& mask, std::int32_t sample, std::int32_t position, const Real* x,
                     Real* y, Index D, Write write) {
    const Real scale = Real(mask.scale);
    for (Index c = 0; c < D; c += 4) {
        const PhiloxCounter words = dropout_words(mask, sample, position, static_cast<std::uint32_t>(c / 4));
        const Index end = std::min<Index>(4, D - c);
        for (Index j = 0; j < end; ++j) {
            const bool keep = words[static_cast<std::size_t>(j)] < mask.threshold;
            put(y[c + j], keep ? x[c + j] * scale : Real(0), write);
        }
    }
}

}  // namespace moegrad::cpu
