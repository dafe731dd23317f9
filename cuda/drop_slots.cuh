#pragma once
// CUDA kernel of ops/drop_slots.hpp: a thread draws for the slots of its token. The same numbers as on the CPU.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/drop_slots.hpp>

namespace moegrad::cuda::drop_slots {
namespace {

inline void drop(Stream stream, TokenKeys tokens, DrawKey draw, double rate, SlotDrop slots) {
    const StepScalars* step = scalars(stream);
    elements("drop_slots", cuda_stream(stream), slots.choice.extent(0), [=] __device__(Index t) {
        const DropoutMask mask = drop_slots_mask(draw, rate, *step);
        for (Index k = 0; k < slots.choice.extent(1); ++k) {
            const bool stays =
                k == 0 || rate == 0 || dropout_keep(mask, tokens.sample(t), tokens.position(t), k);
            slots.apply(t, k, stays);
        }
    });
}

inline void thin(Stream stream, TokenKeys tokens, DrawKey draw, SlotThinning thinning, View<const float, 2> w,
                 View<const std::int32_t, 2> expert, View<std::int32_t, 2> left) {
    const StepScalars* step = scalars(stream);
    int* not_finite = &status()->not_finite;
    elements("thin_slots", cuda_stream(stream), w.extent(0), [=] __device__(Index t) {
        const DropoutMask mask = drop_slots_mask(draw, 0, *step);
        for (Index k = 0; k < w.extent(1); ++k) {
            if (expert(t, k) >= 0 && w(t, k) != w(t, k)) *not_finite = 1;
            const bool stays = k == 0 || expert(t, k) < 0 ||
                               thinning.stays(static_cast<double>(w(t, k)),
                                              slot_word(mask, tokens.sample(t), tokens.position(t), k));
            left(t, k) = stays ? expert(t, k) : kDropped;
        }
    });
}

template <class Real>
constexpr DropSlotsKernels<Real> kernels{drop, thin};

}  // namespace
}  // namespace moegrad::cuda::drop_slots

MOEGRAD_CUDA_FLOAT_SEAT(drop_slots)
