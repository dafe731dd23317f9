#pragma once
// CUDA kernel of ops/remap_slots.hpp: a lane per slot, the table in the launch's own memory.

#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/remap_slots.hpp>

namespace moegrad::cuda::remap_slots {
namespace {

inline void remap(Stream stream, View<const std::int32_t, 2> expert, SlotTable table,
                  View<std::int32_t, 2> local) {
    const Index K = expert.extent(1);
    teams("remap_slots", cuda_stream(stream), expert.extent(0), K, [=] __device__(Index t, Team team) {
        for (Index k = team.lane; k < K; k += team.size) local(t, k) = table.at(expert(t, k));
    });
}

template <class Real>
constexpr RemapSlotsKernels<Real> kernels{remap};

}  // namespace
}  // namespace moegrad::cuda::remap_slots

MOEGRAD_CUDA_FLOAT_SEAT(remap_slots)
