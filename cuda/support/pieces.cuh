#pragma once
// A float as the sum of three bf16, exactly:   x = x0 + x1 + x2,   x0 = round(x), x1 = round(x - x0), x2 = x - x0 - x1
// (above 2^-117, below which bf16 has no finer steps). An infinite x, or one above the largest bf16, has an infinite first
// piece, the others are 0. Element-wise kernels write the pieces of a matrix beside or below one another.

#include <moegrad/cuda/support/numbers.cuh>

namespace moegrad::cuda {

inline constexpr int kPieces = 3;

struct Pieces {
    bf16 of[kPieces];
};

__device__ __forceinline__ Pieces split(float x) {
    Pieces pieces;
    float rest = x;
    for (bf16& piece : pieces.of) {
        piece = narrow<bf16>(rest);
        rest = fabsf(wide(piece)) < INFINITY ? rest - wide(piece) : 0.0f;
    }
    return pieces;
}

/// Columns begin .. end - 1.
template <class T>
View<T, 2> columns(View<T, 2> all, Index begin, Index end) {
    return {all.data + begin, {all.extent(0), end - begin}, all.pitch};
}

}  // namespace moegrad::cuda
