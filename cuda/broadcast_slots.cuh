#pragma once
// CUDA kernel of ops/broadcast_slots.hpp: a thread writes one slot. A NaN, which the CPU refuses, broadcasts nothing and
// sets status()->not_finite.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/broadcast_slots.hpp>

namespace moegrad::cuda::broadcast_slots {
namespace {

inline void forward(Stream stream, BroadcastSlots<float> slots) {
    const Index C = slots.wide.extent(1);
    int* not_finite = &status()->not_finite;
    elements("broadcast_slots", cuda_stream(stream), slots.wide.extent(0) * C, [=] __device__(Index i) {
        const Index t = i / C, c = i % C;
        if (slots.h(t) != slots.h(t)) *not_finite = 1;
        slots.wide(t, c) = slots.slot(t, c, slots.everywhere(t));
    });
}

template <class Real>
constexpr BroadcastSlotsKernels<Real> kernels{forward};

}  // namespace
}  // namespace moegrad::cuda::broadcast_slots

MOEGRAD_CUDA_FLOAT_SEAT(broadcast_slots)
