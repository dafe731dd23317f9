#pragma once
// CUDA kernels of ops/take.hpp. An index beyond its group, which the CPU refuses, gives 0 and sets status()->bad_index.

#include <moegrad/cuda/support/columns.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/take.hpp>

namespace moegrad::cuda::take {
namespace {

inline void forward(Stream stream, View<const float, 2> p, View<const std::int32_t, 2> index,
                    View<float, 2> w, Index groups) {
    pick("take", stream, p, index, w, groups, Write::overwrite);
}

inline void backward(Stream stream, View<const std::int32_t, 2> index, View<const float, 2> dw,
                     View<float, 2> dp, Index groups, Write write) {
    spread("take backward", stream, dw, index, dp, groups, write);
}

template <class Real>
constexpr TakeKernels<Real> kernels{forward, backward};

}  // namespace
}  // namespace moegrad::cuda::take

MOEGRAD_CUDA_FLOAT_SEAT(take)
