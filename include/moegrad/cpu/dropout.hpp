#pragma once
// CPU kernel of ops/dropout.hpp. Rows are independent.

#include <moegrad/cpu/support/drop_row.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/dropout.hpp>

namespace moegrad::cpu::dropout {
namespace {

template <class Real>
void apply(Stream stream, View<const Real, 2> x, TokenKeys keys, Dropout dropout, View<Real, 2> y,
           Write write) {
    const DropoutMask mask = dropout_mask(stream.scalars(), dropout);
    for_rows(stream, x.extent(0), 4 * x.extent(1), [&](Index t) {
        drop_row(mask, keys.sample(t), keys.position(t), x.row(t), y.row(t), x.extent(1), write);
    });
}

template <class Real>
constexpr DropoutKernels<Real> kernels{apply<Real>};

}  // namespace
}  // namespace moegrad::cpu::dropout

MOEGRAD_CPU_SEATS(dropout)
