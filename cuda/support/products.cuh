#pragma once
// The three matrix products of a Linear, on views. In: float or bf16; Out: that, or float.
//     multiply_rows:     y[M,N]  = s x[M,K] w[N,K]^T         forward
//     multiply_back:     dx[M,K] = s dy[M,N] w[N,K]          gradient of the input
//     multiply_weight:   dw[N,K] = dy[M,N]^T x[M,K]          gradient of the weight, over all rows
// Products are added in float and rounded once; with Write::accumulate that is added to what was there, and the sum is
// rounded.

#include <moegrad/cuda/support/blas.cuh>

namespace moegrad::cuda {
namespace {

template <class In, class Out>
void multiply_rows(const char* place, Stream stream, View<const In, 2> x, View<const In, 2> w, View<Out, 2> y,
                   Write write, double scale = 1) {
    matrix_product(place, stream, static_cast<float>(scale), x, Side::plain, w, Side::transposed, y, write);
}

template <class In, class Out>
void multiply_back(const char* place, Stream stream, View<const In, 2> dy, View<const In, 2> w,
                   View<Out, 2> dx, Write write, double scale = 1) {
    matrix_product(place, stream, static_cast<float>(scale), dy, Side::plain, w, Side::plain, dx, write);
}

template <class In, class Out>
void multiply_weight(const char* place, Stream stream, View<const In, 2> dy, View<const In, 2> x,
                     View<Out, 2> dw, Write write) {
    matrix_product(place, stream, 1.0f, dy, Side::transposed, x, Side::plain, dw, write);
}

}  // namespace
}  // namespace moegrad::cuda
