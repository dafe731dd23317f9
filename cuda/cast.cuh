#pragma once
// CUDA kernels of ops/cast.hpp. Into bf16: rounded once, sums too.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/cast.hpp>

namespace moegrad::cuda::cast {
namespace {

template <class From, class To>
void put_cast(Stream stream, View<const From, 2> from, View<To, 2> to, Write write) {
    put_matrix("cast", cuda_stream(stream), from, to, write);
}

template <class Real>
constexpr CastKernels<Real> kernels{put_cast<Real, Wide<Real>>, put_cast<Wide<Real>, Real>};

[[maybe_unused]] const bool bf16_seat = cast_slot.fill<bf16>(Device::cuda, kernels<bf16>);

}  // namespace
}  // namespace moegrad::cuda::cast
