#pragma once
// CUDA kernel of ops/random_choice.hpp: a thread draws the columns of its token. The same numbers as on the CPU.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/random_choice.hpp>

namespace moegrad::cuda::random_choice {
namespace {

inline void draw(Stream stream, TokenKeys tokens, DrawKey draw, Index E, View<std::int32_t, 2> choice) {
    const StepScalars* step = scalars(stream);
    elements("random_choice", cuda_stream(stream), choice.extent(0), [=] __device__(Index t) {
        draw_columns(random_choice_key(draw, *step), tokens.sample(t), tokens.position(t), E, choice.row(t),
                     choice.extent(1));
    });
}

template <class Real>
constexpr RandomChoiceKernels<Real> kernels{draw};

}  // namespace
}  // namespace moegrad::cuda::random_choice

MOEGRAD_CUDA_FLOAT_SEAT(random_choice)
