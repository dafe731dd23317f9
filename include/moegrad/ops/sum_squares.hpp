#pragma once
// sum_squares of a gradient g = g_0 + g_1 + ... (one per use):   sum_i g_i^2, in double.
// Blocks of kSumBlock values, each added in one fixed order, then the block sums in one fixed order: no thread count and
// no timing enters. The global gradient norm is the root of the sum over the weights, in their order (ops/clip.hpp).
// first_non_finite: the smallest i with g_i infinite or NaN, or -1.

#include <moegrad/ops/adamw.hpp>

namespace moegrad {

inline constexpr Index kSumBlock = kUpdateBlock;

template <class Real>
struct SumSquaresKernels {
    /// block [ceil(size / kSumBlock)]: room for the block sums.
    void (*sum)(Stream, const GradientUses<Real>&, View<double, 1> block, View<double, 1> sum);
    void (*first_non_finite)(Stream, const GradientUses<Real>&, View<Index, 1> block, View<Index, 1> first);
    /// block [table.blocks], sum [P].
    void (*sum_all)(Stream, const AdamWTable<Real>&, View<double, 1> block, View<double, 1> sum);
};

inline constinit KernelSlot<SumSquaresKernels> sum_squares_slot{"sum_squares", Proof::reference};

/// -> sum [1], on the device.
template <class Real>
void sum_squares(Stream stream, const GradientUses<Real>& g, View<double, 1> sum) {
    const Tensor<double> block = stream.context().make<double>({(g.size + kSumBlock - 1) / kSumBlock});
    sum_squares_slot.get<Real>(stream.device()).sum(stream, g, block.view<1>(), sum);
}

/// -> first [1], on the device.
template <class Real>
void first_non_finite(Stream stream, const GradientUses<Real>& g, View<Index, 1> first) {
    const Tensor<Index> block = stream.context().make<Index>({(g.size + kSumBlock - 1) / kSumBlock});
    sum_squares_slot.get<Real>(stream.device()).first_non_finite(stream, g, block.view<1>(), first);
}

/// -> sum [P] of the P weights of the list, on the device; each the bits of sum_squares.
template <class Real>
void sum_squares_all(Stream stream, const AdamWList<Real>& list, View<double, 1> sum) {
    if (list.size() == 0) return;
    const AdamWTable<Real> table = list.table();
    const Tensor<double> block = stream.context().make<double>({table.blocks});
    sum_squares_slot.get<Real>(stream.device()).sum_all(stream, table, block.view<1>(), sum);
}

}  // namespace moegrad
