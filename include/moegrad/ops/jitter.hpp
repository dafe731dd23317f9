#pragma once
// jitter: narrow activations times uniform noise, as wide numbers.     y[t,d] = x[t,d] u[t,d],   u in (1 - amount, 1 + amount)
// backward: dx[t,d] = dy[t,d] u[t,d]
// u are the uniform draws of ops/noise.hpp, made anew in backward: neither they nor a wide copy of x pass through memory.
// Saved: nothing.      A router's input: Switch Transformers, Fedus et al. 2021.

#include <moegrad/ops/noise.hpp>

namespace moegrad {

template <class Real>
struct JitterKernels {
    void (*apply)(Stream, View<const Real, 2> x, TokenKeys, DrawKey, NoiseRange, View<Wide<Real>, 2> y);
    void (*backward)(Stream, View<const Wide<Real>, 2> dy, TokenKeys, DrawKey, NoiseRange, View<Real, 2> dx,
                     Write);
};

inline constinit KernelSlot<JitterKernels> jitter_slot{"jitter"};

/// x [T, D] -> [T, D]. 0 < amount: throws where it is lost beside 1.
template <class Real>
Var<Wide<Real>> jitter(Tape& tape, const Var<Real>& x, const Segments& segments, double amount,
                       const DrawKey& key) {
    if (x.shape().rank() != 2 || x.extent(0) != segments.tokens()) {
        throw Error{ErrorCode::shape, "jitter", format("x [{}, D]", segments.tokens()),
                    "x " + x.shape().text()};
    }
    const auto range = NoiseRange::between(1 - amount, 1 + amount);
    const auto& kernels = jitter_slot.get<Real>(tape.device());
    auto y = tape.output<Wide<Real>>(x.shape(), x.needs_gradient());
    kernels.apply(tape.stream(), x.template view<2>(), token_keys(segments), key, range,
                  y.value().template view<2>());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), segments, key, range, dy = y.gradient(),
                               into = x.gradient()] {
        auto dx = into->target();
        kernels.backward(stream, dy->tensor().template view<2>(), token_keys(segments), key, range,
                         dx.tensor.template view<2>(), dx.write);
    });
    return y;
}

}  // namespace moegrad
