#pragma once
// noise: random numbers for every token and column, standard normal or uniform.
//     key  = first two words of philox({step low, step high, module, "nois"}, seed)
//     normal   columns 2 i, 2 i + 1 are the pair of philox({sample[t], position[t], i, 0}, key)      (Box & Muller)
//     uniform  low + (high - low) u,   u from word c % 4 of philox({sample[t], position[t], c / 4, 1}, key)
// The draw has no state: it is the same wherever the token lies in a batch, in a replay, and (but for the last bit) on
// every device. Not differentiable: it enters by add and multiply.
// Saved: nothing.

#include <moegrad/ops/random_choice.hpp>

namespace moegrad {

MOEGRAD_HD constexpr PhiloxKey noise_key(const DrawKey& draw, const StepScalars& scalars) {
    return draw_key(draw, scalars, 0x6e6f6973);
}

/// Standard normal, or uniform between two numbers.
struct NoiseRange {
    bool uniform = false;
    double low = 0, high = 0;

    static constexpr NoiseRange normal() { return {}; }
    static constexpr NoiseRange between(double low, double high) {
        if (low < high) return {true, low, high};
        throw Error{ErrorCode::value, "noise", "a range low < high", format("{} to {}", low, high)};
    }
    MOEGRAD_HD constexpr Index group() const { return uniform ? 4 : 2; }
    /// The numbers of columns group() i .. group() i + group() - 1.
    MOEGRAD_HD void draw(PhiloxKey key, std::int32_t sample, std::int32_t position, Index i,
                         double* numbers) const {
        const PhiloxCounter words =
            philox({static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(position),
                    static_cast<std::uint32_t>(i), uniform ? 1u : 0u},
                   key);
        if (uniform) {
            for (std::size_t j = 0; j < 4; ++j)
                numbers[j] = low + (high - low) * static_cast<double>(uniform_open(words[j]));
        } else {
            const NormalPair pair = normal_pair(words);
            numbers[0] = pair.first;
            numbers[1] = pair.second;
        }
    }
};

template <class Real>
struct NoiseKernels {
    void (*draw)(Stream, TokenKeys, DrawKey, NoiseRange, View<Real, 2> noise);
};

inline constinit KernelSlot<NoiseKernels> noise_slot{"noise", Proof::reference};

/// -> [T, columns].
template <class Real>
Tensor<Real> noise(Tape& tape, const Segments& segments, Index columns, const NoiseRange& range,
                   const DrawKey& key) {
    auto numbers = tape.make<Real>({segments.tokens(), columns});
    noise_slot.get<Real>(tape.device())
        .draw(tape.stream(), token_keys(segments), key, range, numbers.template view<2>());
    return numbers;
}

}  // namespace moegrad
