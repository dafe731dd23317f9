#pragma once
// CPU kernel of ops/noise.hpp. Tokens are independent.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/noise.hpp>

namespace moegrad::cpu::noise {
namespace {

template <class Real>
void draw(Stream stream, TokenKeys tokens, DrawKey draw, NoiseRange range, View<Real, 2> noise) {
    const PhiloxKey key = noise_key(draw, stream.scalars());
    const Index C = noise.extent(1), group = range.group();
    for_rows(stream, noise.extent(0), 16 * C, [&](Index t) {
        double numbers[4];
        for (Index c = 0; c < C; ++c) {
            if (c % group == 0) range.draw(key, tokens.sample(t), tokens.position(t), c / group, numbers);
            noise(t, c) = static_cast<Real>(numbers[c % group]);
        }
    });
}

template <class Real>
constexpr NoiseKernels<Real> kernels{draw<Real>};

}  // namespace
}  // namespace moegrad::cpu::noise

MOEGRAD_CPU_SEATS(noise)
