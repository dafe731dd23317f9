#pragma once
// random_choice: K different columns of E drawn for every token; every order of every K is equally likely.
//     key         = first two words of philox({step low, step high, module, "rand"}, seed)
//     at          = E - k  times  philox({sample[t], position[t], k, 0}, key)[0] / 2^32,   rounded down
//     choice[t,k] = the at-th of the columns that are left, in ascending order
// The draw has no state: it is the same wherever the token lies in a batch, in a replay, and on every device.
// Saved: nothing.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/ops/dropout.hpp>

namespace moegrad {

/// What keys the draws of a module. by_step: other ones in every step; else the same always.
struct DrawKey {
    std::uint64_t seed = 0;
    std::uint32_t module = 0;
    bool by_step = false;

    /// Draws change with the step in training: on a recording tape, and in the first run of a checkpointed segment.
    static DrawKey of(const Tape& tape, std::uint64_t seed, std::uint32_t module) {
        return {seed, module, tape.training()};
    }
    /// No run has that many steps.
    MOEGRAD_HD constexpr std::uint64_t step(const StepScalars& scalars) const {
        return by_step ? scalars.step : ~std::uint64_t{0};
    }
};

/// The key of a module's draws of one kind. Kinds of one module have different tags.
MOEGRAD_HD constexpr PhiloxKey draw_key(const DrawKey& draw, const StepScalars& scalars, std::uint32_t tag) {
    const std::uint64_t step = draw.step(scalars);
    const PhiloxCounter words =
        philox({static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32), draw.module, tag},
               philox_key(draw.seed));
    return {words[0], words[1]};
}

MOEGRAD_HD constexpr PhiloxKey random_choice_key(const DrawKey& draw, const StepScalars& scalars) {
    return draw_key(draw, scalars, 0x72616e64);
}

/// The at-th column that is not among the n of `drawn`: the least x with x = at + (how many of them are <= x).
MOEGRAD_HD constexpr std::int32_t column_left(std::int32_t at, const std::int32_t* drawn, Index n) {
    std::int32_t x = at;
    for (;;) {
        std::int32_t next = at;
        for (Index i = 0; i < n; ++i) next += drawn[i] <= x;
        if (next == x) return x;
        x = next;
    }
}

/// One token's K columns of E.
MOEGRAD_HD constexpr void draw_columns(PhiloxKey key, std::int32_t sample, std::int32_t position, Index E,
                                       std::int32_t* choice, Index K) {
    for (Index k = 0; k < K; ++k) {
        const PhiloxCounter drawn =
            philox({static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(position),
                    static_cast<std::uint32_t>(k), 0},
                   key);
        const std::uint64_t at = (std::uint64_t{drawn[0]} * static_cast<std::uint64_t>(E - k)) >> 32;
        choice[k] = column_left(static_cast<std::int32_t>(at), choice, k);
    }
}

template <class Real>
struct RandomChoiceKernels {
    void (*draw)(Stream, TokenKeys, DrawKey, Index E, View<std::int32_t, 2> choice);
};

inline constinit KernelSlot<RandomChoiceKernels> random_choice_slot{"random_choice", Proof::reference};

/// -> [T, K], columns 0 .. E - 1. Real: the type of the router, whose kernels draw.
template <class Real>
Tensor<std::int32_t> random_choice(Tape& tape, const Segments& segments, Index E, Index K,
                                   const DrawKey& key) {
    if (K < 1 || K > E) {
        throw Error{ErrorCode::value, "random_choice", format("K in [1, {}]", E), format("{}", K)};
    }
    auto choice = tape.make<std::int32_t>({segments.tokens(), K});
    random_choice_slot.get<Real>(tape.device())
        .draw(tape.stream(), token_keys(segments), key, E, choice.view<2>());
    return choice;
}

}  // namespace moegrad
