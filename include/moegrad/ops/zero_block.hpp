#pragma once
// zero_block: w[e, r, c] = 0 for r in [row_begin, row_end), c in [column_begin, column_end), every matrix e of a stack.
// For gradients of blocks that never train: a block-diagonal B, whose other blocks stay zero.

#include <moegrad/core/context.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

template <class Real>
struct ZeroBlockKernels {
    void (*zero)(Stream, View<Real, 3> w, Block);
};

inline constinit KernelSlot<ZeroBlockKernels> zero_block_slot{"zero_block", Proof::reference};

/// w [E, rows, columns] or [rows, columns], in place.
template <class Real>
void zero_block(Stream stream, const Tensor<Real>& w, const Block& block) {
    const Shape& s = w.shape();
    if (s.rank() != 2 && s.rank() != 3)
        throw Error{ErrorCode::shape, "zero_block", "a matrix or a stack", s.text()};
    const Tensor<Real> stack = s.rank() == 3 ? w : w.reshape({1, s[0], s[1]});
    if (block.row_begin < 0 || block.row_end > stack.extent(1) || block.column_begin < 0 ||
        block.column_end > stack.extent(2)) {
        throw Error{ErrorCode::shape, "zero_block", "a block inside " + s.text(),
                    format("rows [{}, {}), columns [{}, {})", block.row_begin, block.row_end,
                           block.column_begin, block.column_end)};
    }
    zero_block_slot.get<Real>(stream.device()).zero(stream, stack.template view<3>(), block);
}

}  // namespace moegrad
