#pragma once
// Whether a choice of LoRA experts can be run: below E, none twice.

#include <moegrad/core/error.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad::cpu {

/// Slot k of token t, against the slots before it.
inline void check_choice(const char* place, View<const std::int32_t, 2> expert, Index t, Index k, Index E) {
    const std::int32_t e = expert(t, k);
    if (e < 0) return;
    if (e >= E) {
        throw Error{ErrorCode::value, place, format("experts below {}", E),
                    format("expert {} in slot {} of token {}", e, k, t)};
    }
    for (Index other = 0; other < k; ++other) {
        if (expert(t, other) == e) {
            throw Error{ErrorCode::value, place, "an expert at most once per token",
                        format("expert {} in slots {} and {} of token {}", e, other, k, t)};
        }
    }
}

}  // namespace moegrad::cpu
