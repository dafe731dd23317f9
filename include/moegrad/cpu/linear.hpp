#pragma once
// CPU kernels of ops/linear.hpp, and the one place where the matrix product of
// float and double is compiled.

#include <moegrad/cpu/support/products.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/linear.hpp>

namespace moegrad::cpu {

template void gemm_batch<float>(ThreadPool&, const GemmCall<float>*, Index);
template void gemm_batch<double>(ThreadPool&, const GemmCall<double>*, Index);

}  // namespace moegrad::cpu

namespace moegrad::cpu::linear {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<Real, 2> y) {
    multiply_rows(stream, x, w, y, Write::overwrite);
}

template <class Real>
void backward_input(Stream stream, View<const Real, 2> w, View<const Real, 2> dy, View<Real, 2> dx,
                    Write write) {
    multiply_back(stream, dy, w, dx, write);
}

template <class Real>
void backward_weight(Stream stream, View<const Real, 2> x, View<const Real, 2> dy, View<Wide<Real>, 2> dw,
                     Write write) {
    multiply_weight(stream, dy, x, x.extent(0), dw, write);
}

template <class Real>
constexpr LinearKernels<Real> kernels{forward<Real>, backward_input<Real>, backward_weight<Real>};

}  // namespace
}  // namespace moegrad::cpu::linear

MOEGRAD_CPU_SEATS(linear)
