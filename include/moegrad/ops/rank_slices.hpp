#pragma once
// How a GPU makes du and dB of an adapter in one reading of dy (cuda/support/grouped_rank_gradient.cuh).
//     a stack of experts: a block takes a slice of one expert's columns through all its rows, and leaves its part of du for
//                         a sum over the slices;
//     one group of rows:  a block takes a slice of the columns through a piece of the rows, and leaves a part of dB too,
//                         for a sum over the pieces.

#include <algorithm>
#include <type_traits>

#include <moegrad/core/bf16.hpp>
#include <moegrad/core/context.hpp>
#include <moegrad/core/tensor.hpp>

namespace moegrad {

/// Blocks that keep the memory of a GPU busy, and those that an H100 runs at once.
inline constexpr Index kRankBlocks = 128, kRankBlocksAtOnce = 264;
/// Rows that a block takes at once, and the fewest that a piece is cut to.
inline constexpr int kRankRows = 32, kRankPiece = 128;

inline constexpr bool rank_fits(Index columns, Index rank) {
    return rank % 8 == 0 && rank > 0 && rank <= 32 && columns % 8 == 0;
}

/// Columns of a slice: the most of 512, 256 and 128, and no more than there are, that leave enough blocks. 0, two readings:
/// too few even so, another rank than 8, 16, 24 and 32, or rows of dy that do not end at 16 bytes. Of ranks above 16 only 256: wider
/// slices have no room in registers, narrower ones none for du where dy was. pieces: of every expert's rows.
inline constexpr Index rank_slice(Index experts, Index columns, Index rank, Index pieces = 1) {
    const Index most = rank > 16 ? 256 : 512, fewest = rank > 16 ? 256 : 128;
    for (Index width = rank_fits(columns, rank) ? most : 0; width >= fewest; width /= 2) {
        if (columns >= width && experts * pieces * ((columns + width - 1) / width) >= kRankBlocks)
            return width;
    }
    return 0;
}

/// How one group is cut.
struct RankCut {
    Index slice = 0, slices = 0;  // columns of a slice; 0: two readings
    Index piece = 0, pieces = 0;  // rows of a piece, whole times kRankRows

    constexpr explicit operator bool() const { return slice > 0; }
    constexpr Index size(Index rows, Index columns, Index rank) const {
        return (slices * rows + pieces * columns) * rank;
    }
};

/// Wide slices, and pieces as long as leaves no block waiting for another: both sums are short then.
inline constexpr RankCut rank_cut(Index rows, Index columns, Index rank) {
    const Index most = std::max<Index>(rows / kRankPiece, 1), slice = rank_slice(1, columns, rank, most);
    if (slice == 0 || rows == 0) return {};
    const Index slices = (columns + slice - 1) / slice;
    const Index pieces = std::clamp<Index>(kRankBlocksAtOnce / slices, 1, most);
    const Index piece = ((rows + pieces - 1) / pieces + kRankRows - 1) / kRankRows * kRankRows;
    return {slice, slices, piece, (rows + piece - 1) / piece};
}

/// Room for the parts: of du [slices, N R]. Undefined where dy is read twice.
template <class Real>
Tensor<Wide<Real>> rank_parts(Context& context, Index rows, Index experts, Index columns, Index rank) {
    const Index slice = rank_slice(experts, columns, rank);
    if (!std::is_same_v<Real, bf16> || context.target() != Device::cuda || slice == 0) return {};
    return context.make<Wide<Real>>({(columns + slice - 1) / slice * rows * rank});
}

/// The same of one group: of du [slices, N R], behind it of dB [pieces, O R].
template <class Real>
Tensor<Wide<Real>> group_rank_parts(Context& context, Index rows, Index columns, Index rank) {
    const RankCut cut = rank_cut(rows, columns, rank);
    if (!std::is_same_v<Real, bf16> || context.target() != Device::cuda || !cut) return {};
    return context.make<Wide<Real>>({cut.size(rows, columns, rank)});
}

}  // namespace moegrad
