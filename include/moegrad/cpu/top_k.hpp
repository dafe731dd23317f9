#pragma once
// CPU kernel of ops/top_k.hpp. Each group of each row keeps its K best in order while it reads the columns
// once.

#include <moegrad/cpu/support/best_columns.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/top_k.hpp>

namespace moegrad::cpu::top_k {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> scores, View<std::int32_t, 2> choice, Index groups) {
    const Index E = scores.extent(1) / groups, K = choice.extent(1) / groups;
    for_rows(stream, scores.extent(0), scores.extent(1) * 4, [&](Index t) {
        const Real* row = scores.row(t);
        require_numbers("top_k", row, scores.extent(1), t);
        for (Index g = 0; g < groups; ++g) best_columns(row + g * E, E, choice.row(t) + g * K, K);
    });
}

template <class Real>
constexpr TopKKernels<Real> kernels{forward<Real>};

}  // namespace
}  // namespace moegrad::cpu::top_k

MOEGRAD_CPU_SEATS(top_k)
