#pragma once
// CPU kernels of ops/sum_squares.hpp: one thread per block, then the blocks in order.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/sum_squares.hpp>

#include <cmath>

namespace moegrad::cpu::sum_squares {
namespace {

template <class Real>
void sum(Stream stream, const GradientUses<Real>& g, View<double, 1> block, View<double, 1> total) {
    for_rows(stream, block.extent(0), kSumBlock, [&](Index b) {
        const Index begin = b * kSumBlock, count = std::min(kSumBlock, g.size - begin);
        block(b) = sum_of<double>(count, [&](Index i) {
            const double value = static_cast<double>(g(begin + i));
            return value * value;
        });
    });
    total(0) = 0;
    for (Index b = 0; b < block.extent(0); ++b) total(0) += block(b);
}

template <class Real>
void first_non_finite(Stream stream, const GradientUses<Real>& g, View<Index, 1> block,
                      View<Index, 1> first) {
    for_rows(stream, block.extent(0), kSumBlock, [&](Index b) {
        const Index end = std::min(g.size, (b + 1) * kSumBlock);
        block(b) = -1;
        for (Index i = b * kSumBlock; i < end && block(b) < 0; ++i) {
            if (!std::isfinite(g(i))) block(b) = i;
        }
    });
    first(0) = -1;
    for (Index b = 0; b < block.extent(0) && first(0) < 0; ++b) first(0) = block(b);
}

template <class Real>
void sum_all(Stream stream, const AdamWTable<Real>& table, View<double, 1> block, View<double, 1> total) {
    for (Index p = 0; p < table.item.extent(0); ++p) {
        const Index begin = table.begin(p), count = table.begin(p + 1) - begin;
        sum(stream, table.item(p).g, View<double, 1>(block.data + begin, {count}),
            View<double, 1>(total.data + p, {1}));
    }
}

template <class Real>
constexpr SumSquaresKernels<Real> kernels{sum<Real>, first_non_finite<Real>, sum_all<Real>};

}  // namespace
}  // namespace moegrad::cpu::sum_squares

MOEGRAD_CPU_SEATS(sum_squares)
