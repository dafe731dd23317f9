#pragma once
// CPU kernels of ops/stack_weights.hpp.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/stack_weights.hpp>

namespace moegrad::cpu::stack_weights {
namespace {

template <class Real>
void place(Stream stream, View<const Real, 2> a, View<const Real, 2> b, View<Real, 2> y) {
    const Index R = a.extent(0), C = y.extent(1);
    for_rows(stream, y.extent(0), C, [&](Index r) {
        const View<const Real, 2> from = r < R ? a : b;
        const Index first = r < R ? 0 : C - b.extent(1);
        std::fill_n(y.row(r), C, Real(0));
        std::copy_n(from.row(r < R ? r : r - R), from.extent(1), y.row(r) + first);
    });
}

template <class Real>
void take(Stream stream, View<const Wide<Real>, 2> from, View<Wide<Real>, 2> to, Write write) {
    for_rows(stream, to.extent(0), to.extent(1), [&](Index r) {
        for (Index c = 0; c < to.extent(1); ++c) put(to(r, c), from(r, c), write);
    });
}

template <class Real>
constexpr StackWeightsKernels<Real> kernels{place<Real>, take<Real>};

}  // namespace
}  // namespace moegrad::cpu::stack_weights

MOEGRAD_CPU_SEATS(stack_weights)
