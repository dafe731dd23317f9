#pragma once
// How a GPU makes du and dB of an adapter's stack in one reading of dy (cuda/support/grouped_rank_gradient.cuh): a block takes
// a slice of one expert's columns through all its rows, and leaves its part of du for a sum over the slices.

#include <type_traits>

#include <moegrad/core/bf16.hpp>
#include <moegrad/core/context.hpp>
#include <moegrad/core/tensor.hpp>

namespace moegrad {

/// Columns of a slice: the most of 512, 256 and 128, and no more than there are, that leave 128 blocks. 0, two readings: too few
/// even so, another rank than 8 and 16, or rows of dy that do not end at 16 bytes.
inline constexpr Index rank_slice(Index experts, Index columns, Index rank) {
    const bool fits = (rank == 8 || rank == 16) && columns % 8 == 0;
    for (Index width = fits ? 512 : 0; width >= 128; width /= 2) {
        if (columns >= width && experts * ((columns + width - 1) / width) >= 128) return width;
    }
    return 0;
}

/// Room for the parts of du [slices, N R]; undefined where dy is read twice.
template <class Real>
Tensor<Wide<Real>> rank_parts(Context& context, Index rows, Index experts, Index columns, Index rank) {
    const Index slice = rank_slice(experts, columns, rank);
    if (!std::is_same_v<Real, bf16> || context.target() != Device::cuda || slice == 0) return {};
    return context.make<Wide<Real>>({(columns + slice - 1) / slice, rows * rank});
}

}  // namespace moegrad
