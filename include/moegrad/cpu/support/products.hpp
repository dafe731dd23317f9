#pragma once
// The three matrix products of a Linear, on views. Every element is one chain (support/gemm.hpp).
//     multiply_rows:     y[M,N] = x[M,K] w[N,K]^T         forward
//     multiply_back:     dx[M,K] = dy[M,N] w[N,K]         gradient of the input
//     multiply_weight:   dw[N,K] = dy[M,N]^T x[M,K]       gradient of the weight, a chain over the rows
// A row list takes row list[m] of that matrix in place of row m.

#include <moegrad/core/context.hpp>
#include <moegrad/cpu/support/gemm.hpp>

namespace moegrad::cpu {

template <class Real>
void multiply_rows(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<Real, 2> y, Write write,
                   const std::int32_t* x_rows = nullptr) {
    gemm(stream.pool(), Transpose::no, Transpose::yes, y.extent(0), y.extent(1), w.extent(1), x.data, x.pitch,
         w.data, w.pitch, y.data, y.pitch, write, {.a_rows = x_rows});
}

template <class Real>
void multiply_back(Stream stream, View<const Real, 2> dy, View<const Real, 2> w, View<Real, 2> dx,
                   Write write, const std::int32_t* dy_rows = nullptr) {
    gemm(stream.pool(), Transpose::no, Transpose::no, dx.extent(0), dx.extent(1), w.extent(0), dy.data,
         dy.pitch, w.data, w.pitch, dx.data, dx.pitch, write, {.a_rows = dy_rows});
}

/// Over `rows` rows of dy and x, counted in the lists where there are some.
template <class Real>
void multiply_weight(Stream stream, View<const Real, 2> dy, View<const Real, 2> x, Index rows,
                     View<Real, 2> dw, Write write, const std::int32_t* dy_rows = nullptr,
                     const std::int32_t* x_rows = nullptr) {
    gemm(stream.pool(), Transpose::yes, Transpose::no, dw.extent(0), dw.extent(1), rows, dy.data, dy.pitch,
         x.data, x.pitch, dw.data, dw.pitch, write, {.a_rows = dy_rows, .b_rows = x_rows});
}

}  // namespace moegrad::cpu
