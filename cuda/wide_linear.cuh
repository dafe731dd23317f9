#pragma once
// CUDA kernels of ops/wide_linear.hpp: bf16 products with the accuracy of float.
// A float is the sum of three bf16, exactly (support/pieces.cuh):  w = w0 + w1 + w2. The product of two bf16 is exact in float,
// so sums are all that rounds:
//     y   one product of x with [w0; w1; w2] below one another, which reads x once; the three sums are added, smallest first
//     dx  one product of [dy0 | dy0 | dy1] with [w0; w1; w0]: what is left out is below 2^-16 of a term; rounded once, and
//         once more with every further addition
//     dw  one product of [dy0 | dy1 | dy2] with x, the three sums added in float
// A piece has E' columns, zeros beyond E. An infinite x, which meets pieces of either sign or 0, gives NaN.

#include <moegrad/cuda/support/pieces.cuh>
#include <moegrad/cuda/support/products.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/wide_linear.hpp>

namespace moegrad::cuda::wide_linear {
namespace {

/// [w0; w1; w2], or [w0; w1; w0].  w [E, D], to [3 E', D].
void split_weight(Stream stream, View<const float, 2> w, bool exact, View<bf16, 2> to) {
    const Index E = w.extent(0), D = w.extent(1), P = to.extent(0) / kPieces;
    elements("wide_linear, pieces of w", cuda_stream(stream), P * D, [=] __device__(Index i) {
        const Index e = i / D, d = i - e * D;
        const Pieces pieces = split(e < E ? w(e, d) : 0.0f);
        to(e, d) = pieces.of[0];
        to(P + e, d) = pieces.of[1];
        to(2 * P + e, d) = pieces.of[exact ? 2 : 0];
    });
}

/// [dy0 | dy0 | dy1 | dy2].  dy [T, E], to [T, 4 E'].
void split_gradient(Stream stream, View<const float, 2> dy, View<bf16, 2> to) {
    const Index T = dy.extent(0), E = dy.extent(1), P = to.extent(1) / (kPieces + 1);
    elements("wide_linear, pieces of dy", cuda_stream(stream), T * P, [=] __device__(Index i) {
        const Index t = i / P, e = i - t * P;
        const Pieces pieces = split(e < E ? dy(t, e) : 0.0f);
        to(t, e) = to(t, P + e) = pieces.of[0];
        to(t, 2 * P + e) = pieces.of[1];
        to(t, 3 * P + e) = pieces.of[2];
    });
}

void forward(Stream stream, View<const bf16, 2> x, View<const float, 2> w, double scale,
             WideLinearRoom<bf16> room, View<float, 2> y) {
    split_weight(stream, w, true, room.w);
    multiply_rows<bf16>("wide_linear", stream, x, room.w, room.sum, Write::overwrite);
    const View<const float, 2> sum = room.sum;
    const Index E = y.extent(1), P = sum.extent(1) / kPieces;
    const float s = static_cast<float>(scale);
    elements("wide_linear, y", cuda_stream(stream), y.size(), [=] __device__(Index i) {
        const Index t = i / E, e = i - t * E;
        y(t, e) = s * (sum(t, 2 * P + e) + sum(t, P + e) + sum(t, e));
    });
}

void backward_weight(Stream stream, View<const bf16, 2> x, double scale, WideLinearRoom<bf16> room,
                     View<float, 2> dw, Write write) {
    const View<const float, 2> sum = room.sum;
    const Index D = dw.extent(1), P = sum.extent(0) / kPieces;
    multiply_weight<bf16>("wide_linear, dw", stream, columns(room.dy, P, 4 * P), x, room.sum,
                          Write::overwrite);
    const float s = static_cast<float>(scale);
    elements("wide_linear, dw", cuda_stream(stream), dw.size(), [=] __device__(Index i) {
        const Index e = i / D, d = i - e * D;
        put(dw(e, d), s * (sum(2 * P + e, d) + sum(P + e, d) + sum(e, d)), write);
    });
}

void backward(Stream stream, View<const bf16, 2> x, View<const float, 2> w, View<const float, 2> dy,
              double scale, WideLinearRoom<bf16> room, View<bf16, 2> dx, Write write_x, View<float, 2> dw,
              Write write_w) {
    split_gradient(stream, dy, room.dy);
    if (dw.data != nullptr) backward_weight(stream, x, scale, room, dw, write_w);
    if (dx.data == nullptr) return;
    split_weight(stream, w, false, room.w);
    multiply_back<bf16>("wide_linear, dx", stream, columns(room.dy, 0, room.w.extent(0)), room.w, dx, write_x,
                        scale);
}

constexpr WideLinearKernels<bf16> kernels{forward, backward};

[[maybe_unused]] const bool bf16_seat = wide_linear_slot.fill<bf16>(Device::cuda, kernels);

}  // namespace
}  // namespace moegrad::cuda::wide_linear
