#pragma once
// CUDA kernel of ops/stats_total.hpp: one thread a count. What a step needs of the device comes with it (device_step.cuh).

#include <moegrad/cuda/support/device_step.cuh>
#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/stats_total.hpp>

namespace moegrad::cuda::stats_total {
namespace {

template <class Real>
void add(Stream stream, View<const std::int64_t, 1> words, View<std::int64_t, 1> total) {
    elements("stats_total", cuda_stream(stream), total.extent(0),
             [=] __device__(Index i) { total(i) += words(i); });
}

template <class Real>
constexpr StatsTotalKernels<Real> kernels{add<Real>};

}  // namespace
}  // namespace moegrad::cuda::stats_total

MOEGRAD_CUDA_FLOAT_SEAT(stats_total)
