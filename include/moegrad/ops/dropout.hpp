#pragma once
// dropout.   y[t,c] = keep(t,c) x[t,c] / (1 - rate)          backward: dx = the same mask on dy
// The mask has no state. It is a function of (seed, step, module, expert) and of (sample, position, column):
//     key  = first two words of philox({step low, step high, module, expert}, {seed low, seed high})
//     keep = philox({sample[t], position[t], c / 4, 0}, key)[c % 4] < (1 - rate) 2^32
// so it is the same wherever the token lies in a batch, in a replay, and on every device.
// Saved: nothing.        Srivastava et al. 2014; the counter-based mask after Salmon et al. 2011.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/philox.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

/// How much an input is dropped, and the number of the place in the model that drops it (no two alike).
struct Dropout {
    double rate = 0;
    std::uint32_t module = 0;
};

/// Dropout of one module and expert in one step.
struct DropoutMask {
    PhiloxKey key{};
    std::uint32_t threshold = 0;  // words below it are kept
    double scale = 1;             // 1 / (1 - rate)
};

MOEGRAD_HD constexpr DropoutMask dropout_mask(const StepScalars& scalars, const Dropout& dropout,
                                              std::uint32_t expert = 0) {
    const PhiloxCounter words =
        philox({static_cast<std::uint32_t>(scalars.step), static_cast<std::uint32_t>(scalars.step >> 32),
                dropout.module, expert},
               philox_key(scalars.seed));
    // A rate below 2^-33 would round the threshold to 2^32.
    const double threshold = (1.0 - dropout.rate) * 0x1p32;
    return {{words[0], words[1]},
            threshold < 0x1p32 ? static_cast<std::uint32_t>(threshold) : 0xffffffffu,
            1.0 / (1.0 - dropout.rate)};
}

/// The words of columns 4 group .. 4 group + 3.
MOEGRAD_HD constexpr PhiloxCounter dropout_words(const DropoutMask& mask, std::int32_t sample,
                                                 std::int32_t position, std::uint32_t group) {
    return philox({static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(position), group, 0},
                  mask.key);
}

MOEGRAD_HD constexpr bool dropout_keep(const DropoutMask& mask, std::int32_t sample, std::int32_t position,
                                       Index column) {
    const PhiloxCounter words = dropout_words(mask, sample, position, static_cast<std::uint32_t>(column / 4));
    return words[static_cast<std::size_t>(column % 4)] < mask.threshold;
}

/// What a kernel needs to know of the tokens to draw their mask.
struct TokenKeys {
    View<const std::int32_t, 1> sample, position;  // [T] each
};

/// The dropout that an op with T rows has to apply: rate 0 unless the pass is part of a training step.
inline Dropout active_dropout(const Tape& tape, const Dropout& dropout, const Segments& segments, Index T) {
    if (!(dropout.rate >= 0 && dropout.rate < 1)) {
        throw Error{ErrorCode::value, "dropout", "a rate in [0, 1)", format("{}", dropout.rate)};
    }
    if (dropout.rate == 0 || !tape.training()) return {};
    if (segments.tokens() != T || !segments.sample.defined() || segments.sample.extent(0) != T) {
        throw Error{ErrorCode::shape, "dropout", format("segments of {} tokens", T),
                    format("{} tokens", segments.tokens())};
    }
    return dropout;
}

inline TokenKeys token_keys(const Segments& segments) {
    return {segments.sample.view<1>(), segments.position.view<1>()};
}
/// Empty views when the dropout is off: its kernels do not look at them.
inline TokenKeys token_keys(const Dropout& active, const Segments& segments) {
    return active.rate == 0 ? TokenKeys{} : token_keys(segments);
}

template <class Real>
struct DropoutKernels {
    /// y = mask(x), or y += mask(x).
    void (*apply)(Stream, View<const Real, 2> x, TokenKeys, Dropout, View<Real, 2> y, Write);
};

inline constinit KernelSlot<DropoutKernels> dropout_slot{"dropout"};

/// x [T, D] -> [T, D]; x itself when the rate is 0 or nothing records.
template <class Real>
Var<Real> dropout(Tape& tape, const Var<Real>& x, const Segments& segments, const Dropout& options) {
    if (x.shape().rank() != 2) throw Error{ErrorCode::shape, "dropout", "x [T, D]", "x " + x.shape().text()};
    const Dropout active = active_dropout(tape, options, segments, x.extent(0));
    if (active.rate == 0) return x;
    const auto& kernels = dropout_slot.get<Real>(tape.device());
    auto y = tape.output<Real>(x.shape(), x.needs_gradient());
    kernels.apply(tape.stream(), x.template view<2>(), token_keys(active, segments), active,
                  y.value().template view<2>(), Write::overwrite);
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(),
                [&kernels, stream = tape.stream(), segments, active, dy = y.gradient(), into = x.gradient()] {
                    auto dx = into->target();
                    kernels.apply(stream, dy->tensor().template view<2>(), token_keys(active, segments),
                                  active, dx.tensor.template view<2>(), dx.write);
                });
    return y;
}

}  // namespace moegrad
