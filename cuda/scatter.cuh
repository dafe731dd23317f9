#pragma once
// CUDA kernels of ops/scatter.hpp. An index beyond its group, which the CPU refuses, goes nowhere and sets
// status()->bad_index.

#include <moegrad/cuda/support/columns.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/scatter.hpp>

namespace moegrad::cuda::scatter {
namespace {

inline void forward(Stream stream, View<const float, 2> w, View<const std::int32_t, 2> index,
                    View<float, 2> p, Index groups) {
    spread("scatter", stream, w, index, p, groups, Write::overwrite);
}

inline void backward(Stream stream, View<const std::int32_t, 2> index, View<const float, 2> dp,
                     View<float, 2> dw, Index groups, Write write) {
    pick("scatter backward", stream, dp, index, dw, groups, write);
}

template <class Real>
constexpr ScatterKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::scatter

MOEGRAD_CUDA_FLOAT_SEAT(scatter)
