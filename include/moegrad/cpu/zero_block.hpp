#pragma once
// CPU kernel of ops/zero_block.hpp.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/zero_block.hpp>

namespace moegrad::cpu::zero_block {
namespace {

template <class Real>
void zero(Stream stream, View<Real, 3> w, Block block) {
    const Index rows = block.row_end - block.row_begin;
    for_rows(stream, w.extent(0) * rows, block.column_end - block.column_begin, [&](Index i) {
        Real* row = w.row(i / rows * w.extent(1) + block.row_begin + i % rows);
        for (Index c = block.column_begin; c < block.column_end; ++c) row[c] = Real(0);
    });
}

template <class Real>
constexpr ZeroBlockKernels<Real> kernels{zero<Real>};

}  // namespace
}  // namespace moegrad::cpu::zero_block

MOEGRAD_CPU_SEATS(zero_block)
