#pragma once
// CUDA kernels of ops/gather_rows.hpp. An index beyond the rows, which the CPU refuses, gives 0 and sets
// status()->bad_index.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/gather_rows.hpp>

namespace moegrad::cuda::gather_rows {
namespace {

template <int N, class Real>
void gather_groups(cudaStream_t stream, View<const Real, 2> x, View<const std::int32_t, 1> index,
                   View<Real, 2> y) {
    int* bad_index = &status()->bad_index;
    groups<N>("gather_rows", stream, y.extent(0), y.extent(1), nullptr, [=] __device__(Index i, Index d) {
        const Index t = index(i);
        if (t >= x.extent(0)) *bad_index = 1;
        const bool there = t >= 0 && t < x.extent(0);
        (there ? Values<Real, N>::load(x.row(t) + d) : Values<Real, N>::all(0)).store(y.row(i) + d);
    });
}

template <class Real>
void gather(Stream stream, View<const Real, 2> x, View<const std::int32_t, 1> index, View<Real, 2> y) {
    constexpr int N = kPack<Real>;
    all_aligned(x, y) && y.extent(1) % N == 0 ? gather_groups<N>(cuda_stream(stream), x, index, y)
                                              : gather_groups<1>(cuda_stream(stream), x, index, y);
}

template <int N, class Real>
void backward_groups(cudaStream_t stream, View<const Real, 2> dy, View<const std::int32_t, 1> index,
                     View<Real, 2> dx, Write write) {
    if (write == Write::overwrite) {
        groups<N>("gather_rows backward", stream, dx.extent(0), dx.extent(1), nullptr,
                  [=] __device__(Index t, Index d) { Values<Real, N>::all(0).store(dx.row(t) + d); });
    }
    groups<N>("gather_rows backward", stream, dy.extent(0), dy.extent(1), nullptr,
              [=] __device__(Index i, Index d) {
                  const Index t = index(i);
                  if (t < 0 || t >= dx.extent(0)) return;
                  Values<Real, N>::load(dy.row(i) + d).put(dx.row(t) + d, write);
              });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> dy, View<const std::int32_t, 1> index, View<Real, 2> dx,
              Write write) {
    constexpr int N = kPack<Real>;
    all_aligned(dy, dx) && dx.extent(1) % N == 0
        ? backward_groups<N>(cuda_stream(stream), dy, index, dx, write)
        : backward_groups<1>(cuda_stream(stream), dy, index, dx, write);
}

template <class Real>
constexpr GatherRowsKernels<Real> kernels{gather<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cuda::gather_rows

MOEGRAD_CUDA_SEATS(gather_rows)
