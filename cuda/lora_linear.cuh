#pragma once
// CUDA kernels of ops/lora_linear.hpp: products of support/products.cuh and support/low_rank.cuh.
// bf16: drop(x) is rounded once, u and du once, after their scale; y and dx as low_rank.cuh says: once on Hopper. Where the
// input is dropped, du A is rounded, then what its mask leaves, then dx, the sum with dy w. dA, dB, dw are float.

#include <moegrad/cuda/support/low_rank.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/lora_linear.hpp>

namespace moegrad::cuda::lora_linear {
namespace {

/// y = mask(x), or y += that.
template <class Real>
void drop_rows(Stream stream, View<const Real, 2> x, const DroppedInput<Real>& dropped, View<Real, 2> y,
               Write write) {
    dropout_slot.get<Real>(Device::cuda).apply(stream, x, dropped.keys, dropped.dropout, y, write);
}

/// drop(x): x itself at rate 0.
template <class Real>
View<const Real, 2> drop(Stream stream, View<const Real, 2> x, const DroppedInput<Real>& dropped) {
    if (dropped.dropout.rate == 0) return x;
    drop_rows(stream, x, dropped, dropped.room, Write::overwrite);
    return dropped.room;
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<const Real, 2> A,
             View<const Real, 2> B, double scale, DroppedInput<Real> dropped, View<std::int32_t, 1> bounds,
             View<Real, 2> u, View<Real, 2> y) {
    multiply_rows("lora_linear, u", stream, drop(stream, x, dropped), A, u, Write::overwrite, scale);
    low_rank_rows<Real>("lora_linear", stream, x, w, u, B, bounds, y);
}

template <class Real>
void backward_rank(Stream stream, View<const Real, 2> dy, View<const Real, 2> B, double scale,
                   View<Real, 2> du) {
    multiply_back("lora_linear, du", stream, dy, B, du, Write::overwrite, scale);
}

/// grouped_linear's with one group, which reads dy once where it can.
template <class Real>
void backward_ranks(Stream stream, View<const Real, 2> dy, View<const Real, 2> B, View<const Real, 2> u,
                    double scale, View<Wide<Real>, 1> parts, View<Real, 2> du, View<Wide<Real>, 2> dB,
                    Write write) {
    const View<Wide<Real>, 3> stack{dB.data, {1, dB.extent(0), dB.extent(1)}, dB.pitch};
    grouped_linear_slot.get<Real>(Device::cuda)
        .rank_gradients(stream, dy, one_expert(B), u, DispatchView(), scale, parts, du, stack, write);
}

template <class Real>
void backward_input(Stream stream, View<const Real, 2> dy, View<const Real, 2> w, View<const Real, 2> du,
                    View<const Real, 2> A, DroppedInput<Real> dropped, View<std::int32_t, 1> bounds,
                    View<Real, 2> dx, Write write) {
    if (dropped.dropout.rate == 0) {
        low_rank_back("lora_linear, dx", stream, dy, w, du, A, bounds, dx, write);
        return;
    }
    multiply_back("lora_linear, du A", stream, du, A, dropped.room, Write::overwrite);
    drop_rows<Real>(stream, dropped.room, dropped, dx, write);
    multiply_back("lora_linear, dx", stream, dy, w, dx, Write::accumulate);
}

template <class Real>
void backward_down(Stream stream, View<const Real, 2> x, View<const Real, 2> du, DroppedInput<Real> dropped,
                   View<Wide<Real>, 2> dA, Write write) {
    multiply_weight("lora_linear, dA", stream, du, drop(stream, x, dropped), dA, write);
}

template <class Real>
constexpr LoraLinearKernels<Real> kernels{forward<Real>, backward_rank<Real>, backward_ranks<Real>,
                                          backward_input<Real>, backward_down<Real>};

}  // namespace
}  // namespace moegrad::cuda::lora_linear

MOEGRAD_CUDA_SEATS(lora_linear)
