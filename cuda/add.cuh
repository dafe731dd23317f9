#pragma once
// CUDA kernels of ops/add.hpp. Elements are independent.
// bf16: y = a + b in float, rounded once; so is dx + dy where a gradient accumulates.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/add.hpp>

namespace moegrad::cuda::add {
namespace {

template <int N, class Real>
void add_groups(cudaStream_t stream, View<const Real, 2> a, View<const Real, 2> b, View<Real, 2> y) {
    groups<N>("add", stream, y.extent(0), y.extent(1), nullptr, [=] __device__(Index t, Index d) {
        auto sum = Values<Real, N>::load(a.row(t) + d);
        const auto other = Values<Real, N>::load(b.row(t) + d);
#pragma unroll
        for (int i = 0; i < N; ++i) sum[i] += other[i];
        sum.store(y.row(t) + d);
    });
}

template <class Real>
void forward(Stream stream, View<const Real, 2> a, View<const Real, 2> b, View<Real, 2> y) {
    all_aligned(a, b, y) ? add_groups<kPack<Real>>(cuda_stream(stream), a, b, y)
                         : add_groups<1>(cuda_stream(stream), a, b, y);
}

template <class Real>
void backward(Stream stream, View<const Real, 2> dy, View<Real, 2> dx, Write write) {
    put_matrix("add backward", cuda_stream(stream), dy, dx, write);
}

template <class Real>
constexpr AddKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cuda::add

MOEGRAD_CUDA_SEATS(add)
