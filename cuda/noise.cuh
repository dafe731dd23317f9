#pragma once
// CUDA kernel of ops/noise.hpp: a thread draws a group of columns. Multiplications and additions are contracted: a number
// may differ from the CPU's in its last bit.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/noise.hpp>

namespace moegrad::cuda::noise {
namespace {

inline void draw(Stream stream, TokenKeys tokens, DrawKey draw, NoiseRange range, View<float, 2> noise) {
    const StepScalars* step = scalars(stream);
    const Index C = noise.extent(1), size = range.group(), groups = (C + size - 1) / size;
    elements("noise", cuda_stream(stream), noise.extent(0) * groups, [=] __device__(Index i) {
        const Index t = i / groups, first = (i - t * groups) * size;
        double numbers[4];
        range.draw(noise_key(draw, *step), tokens.sample(t), tokens.position(t), first / size, numbers);
        for (Index j = 0; j < size && first + j < C; ++j)
            noise(t, first + j) = static_cast<float>(numbers[j]);
    });
}

template <class Real>
constexpr NoiseKernels<Real> kernels{draw};

}  // namespace
}  // namespace moegrad::cuda::noise

MOEGRAD_CUDA_FLOAT_SEAT(noise)
