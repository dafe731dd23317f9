#pragma once
// CPU kernel of ops/concat.hpp.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/concat.hpp>

namespace moegrad::cpu::concat {
namespace {

template <class Real>
void copy(Stream stream, View<const Real, 2> from, View<Real, 2> to, Write write) {
    const Index columns = from.extent(1);
    for_rows(stream, from.extent(0), columns, [&](Index t) {
        for (Index c = 0; c < columns; ++c) put(to(t, c), from(t, c), write);
    });
}

template <class Real>
constexpr ConcatKernels<Real> kernels{copy<Real>};

}  // namespace
}  // namespace moegrad::cpu::concat

MOEGRAD_CPU_SEATS(concat)
