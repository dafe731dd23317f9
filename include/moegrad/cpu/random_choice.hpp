#pragma once
// CPU kernel of ops/random_choice.hpp. Tokens are independent.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/random_choice.hpp>

namespace moegrad::cpu::random_choice {
namespace {

inline void draw(Stream stream, TokenKeys tokens, DrawKey draw, Index E, View<std::int32_t, 2> choice) {
    const PhiloxKey key = random_choice_key(draw, stream.scalars());
    const Index K = choice.extent(1);
    for_rows(stream, choice.extent(0), 16 * K,
             [&](Index t) { draw_columns(key, tokens.sample(t), tokens.position(t), E, choice.row(t), K); });
}

template <class Real>
constexpr RandomChoiceKernels<Real> kernels{draw};

}  // namespace
}  // namespace moegrad::cpu::random_choice

MOEGRAD_CPU_SEATS(random_choice)
