#pragma once
// CUDA kernels of ops/multiply.hpp. Elements are independent.
// bf16: y and dx are rounded once (and once more with a sum into dx); f and df are float.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/multiply.hpp>

namespace moegrad::cuda::multiply {
namespace {

/// to = a b, or to += that.
template <class A, class B, class To>
void products(const char* place, Stream stream, View<const A, 2> a, View<const B, 2> b, View<To, 2> to,
              Write write) {
    const Index O = to.extent(1);
    elements(place, cuda_stream(stream), to.extent(0) * O, [=] __device__(Index i) {
        const Index t = i / O, o = i - t * O;
        put(to(t, o), wide(a(t, o)) * wide(b(t, o)), write);
    });
}

template <class Real>
void apply(Stream stream, View<const float, 2> f, View<const Real, 2> x, View<Real, 2> y, Write write) {
    products("multiply", stream, f, x, y, write);
}

template <class Real>
void backward_factor(Stream stream, View<const Real, 2> x, View<const Real, 2> dy, View<float, 2> df,
                     Write write) {
    products("multiply backward", stream, x, dy, df, write);
}

template <class Real>
constexpr MultiplyKernels<Real> kernels{apply<Real>, backward_factor<Real>};

}  // namespace
}  // namespace moegrad::cuda::multiply

MOEGRAD_CUDA_SEATS(multiply)
