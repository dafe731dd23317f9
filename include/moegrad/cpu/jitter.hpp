#pragma once
// CPU kernels of ops/jitter.hpp. Tokens are independent.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/jitter.hpp>

namespace moegrad::cpu::jitter {
namespace {

/// to = from u, or to += that, rounded once.
template <class From, class To>
void multiply(Stream stream, View<const From, 2> from, TokenKeys tokens, DrawKey draw, NoiseRange range,
              View<To, 2> to, Write write) {
    using W = Wide<To>;
    const PhiloxKey key = noise_key(draw, stream.scalars());
    const Index D = to.extent(1), group = range.group();
    for_rows(stream, to.extent(0), 16 * D, [&](Index t) {
        double u[4];
        for (Index d = 0; d < D; ++d) {
            if (d % group == 0) range.draw(key, tokens.sample(t), tokens.position(t), d / group, u);
            const W product = static_cast<W>(u[d % group]) * static_cast<W>(from(t, d));
            to(t, d) = To(write == Write::overwrite ? product : static_cast<W>(to(t, d)) + product);
        }
    });
}

template <class Real>
void apply(Stream stream, View<const Real, 2> x, TokenKeys tokens, DrawKey draw, NoiseRange range,
           View<Wide<Real>, 2> y) {
    multiply(stream, x, tokens, draw, range, y, Write::overwrite);
}

template <class Real>
constexpr JitterKernels<Real> kernels{apply<Real>, multiply<Wide<Real>, Real>};

[[maybe_unused]] const bool bf16_seat = jitter_slot.fill<bf16>(Device::cpu, kernels<bf16>);

}  // namespace
}  // namespace moegrad::cpu::jitter

MOEGRAD_CPU_SEATS(jitter)
