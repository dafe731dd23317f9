#pragma once
// CPU kernel of ops/nf4.hpp. Every value is on its own.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/nf4.hpp>

namespace moegrad::cpu::nf4 {
namespace {

template <class Real>
void dequantise(Stream stream, Nf4View matrix, View<Real, 2> w) {
    const Index columns = w.extent(1);
    for_rows(stream, w.extent(0), 4 * columns, [&](Index row) {
        float maximum = 0;
        for (Index c = 0; c < columns; ++c) {
            const Index at = row * columns + c, block = at / kNf4Block;
            if (c == 0 || at % kNf4Block == 0) {
                maximum = nf4_maximum(nf4_map(matrix.scale[block]), matrix.large[block / kNf4ScaleBlock],
                                      matrix.mean);
            }
            const int code = at % 2 == 0 ? matrix.code[at / 2] >> 4 : matrix.code[at / 2] & 15;
            w(row, c) = Real(nf4_value(code) * maximum);
        }
    });
}

template <class Real>
constexpr Nf4Kernels<Real> kernels{dequantise<Real>};

}  // namespace
}  // namespace moegrad::cpu::nf4

MOEGRAD_CPU_SEATS(nf4)
