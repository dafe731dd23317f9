#pragma once
// CUDA kernels of ops/sigmoid.hpp, an element a thread. The formulas are the CPU's, but multiplications and additions are
// contracted: results may differ in their last bit.

#include <moegrad/core/math.hpp>
#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/sigmoid.hpp>

namespace moegrad::cuda::sigmoid {
namespace {

/// each(t, c) for every element of rows of C columns.
template <class Each>
void for_each(const char* place, Stream stream, Index rows, Index C, Each each) {
    elements(place, cuda_stream(stream), rows * C, [=] __device__(Index i) { each(i / C, i % C); });
}

inline void forward(Stream stream, View<const float, 2> x, View<float, 2> y) {
    for_each("sigmoid", stream, x.extent(0), x.extent(1),
             [=] __device__(Index t, Index c) { y(t, c) = moegrad::sigmoid(x(t, c)); });
}

inline void backward(Stream stream, View<const float, 2> y, View<const float, 2> dy, View<float, 2> dx,
                     Write write) {
    for_each("sigmoid backward", stream, y.extent(0), y.extent(1), [=] __device__(Index t, Index c) {
        put(dx(t, c), dy(t, c) * (y(t, c) * (1 - y(t, c))), write);
    });
}

inline void log_forward(Stream stream, View<const float, 2> x, View<float, 2> y) {
    for_each("log_sigmoid", stream, x.extent(0), x.extent(1),
             [=] __device__(Index t, Index c) { y(t, c) = -moegrad::softplus(-x(t, c)); });
}

inline void log_backward(Stream stream, View<const float, 2> x, View<const float, 2> dy, View<float, 2> dx,
                         Write write) {
    for_each("log_sigmoid backward", stream, x.extent(0), x.extent(1), [=] __device__(Index t, Index c) {
        put(dx(t, c), dy(t, c) * moegrad::sigmoid(-x(t, c)), write);
    });
}

template <class Real>
constexpr SigmoidKernels<Real> kernels{forward, backward, log_forward, log_backward};

}  // namespace
}  // namespace moegrad::cuda::sigmoid

MOEGRAD_CUDA_FLOAT_SEAT(sigmoid)
