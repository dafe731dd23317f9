#pragma once
// y = alpha op(a) op(b), or y += that, one thread an element, one float chain over the contraction. For what cuBLASLt does
// not take, for an empty contraction, and for the emulator; slow. As with cuBLASLt, a product is rounded before it is added.

#include <moegrad/cuda/support/rows.cuh>

namespace moegrad::cuda {

/// An operand of a matrix product: the matrix itself, or its transpose.
enum class Side { plain, transposed };

namespace {

/// y [M, N], op(a) [M, K], op(b) [K, N].
template <class In, class Out>
void plain_product(const char* place, cudaStream_t stream, float alpha, View<const In, 2> a, Side a_side,
                   View<const In, 2> b, Side b_side, View<Out, 2> y, Write write) {
    const Index M = y.extent(0), N = y.extent(1), K = a.extent(a_side == Side::plain ? 1 : 0);
    const Index a_row = a_side == Side::plain ? a.pitch : 1, a_step = a_side == Side::plain ? 1 : a.pitch;
    const Index b_column = b_side == Side::plain ? 1 : b.pitch, b_step = b_side == Side::plain ? b.pitch : 1;
    elements(place, stream, M * N, [=] __device__(Index i) {
        const In* left = a.data + i / N * a_row;
        const In* right = b.data + i % N * b_column;
        float sum = 0;
        for (Index k = 0; k < K; ++k) sum = fmaf(wide(left[k * a_step]), wide(right[k * b_step]), sum);
        put(y.row(i / N)[i % N], wide(narrow<Out>(alpha * sum)), write);
    });
}

}  // namespace
}  // namespace moegrad::cuda
