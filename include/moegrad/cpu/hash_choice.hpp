#pragma once
// CPU kernel of ops/hash_choice.hpp. Tokens are independent.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/hash_choice.hpp>

namespace moegrad::cpu::hash_choice {
namespace {

inline void look_up(Stream stream, View<const std::int32_t, 1> token, PhiloxKey key, Index E,
                    View<std::int32_t, 2> choice) {
    const Index K = choice.extent(1);
    for_rows(stream, choice.extent(0), 16 * K,
             [&](Index t) { draw_columns(key, token(t), 0, E, choice.row(t), K); });
}

template <class Real>
constexpr HashChoiceKernels<Real> kernels{look_up};

}  // namespace
}  // namespace moegrad::cpu::hash_choice

MOEGRAD_CPU_SEATS(hash_choice)
