#pragma once
// CUDA kernels of ops/sparsemixer.hpp: a thread has a token, the CPU's formulas. Picks are compared in double: another one
// than the CPU's needs two of them within its last bits. What is not finite, which the CPU refuses, sets status()->not_finite.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/sparsemixer.hpp>

namespace moegrad::cuda::sparsemixer {
namespace {

inline void choose(Stream stream, SparsemixerBatch<float> batch) {
    const StepScalars* step = scalars(stream);
    int* not_finite = &status()->not_finite;
    const Index E = batch.z.extent(1), K = batch.choice.extent(1);
    elements("sparsemixer", cuda_stream(stream), batch.z.extent(0), [=] __device__(Index t) {
        for (Index e = 0; e < E; ++e) {
            if (!(batch.z(t, e) - batch.z(t, e) == 0)) *not_finite = 1;
        }
        const auto token = batch.token(t, sparsemixer_key(batch.draw, *step));
        for (Index k = 0; k < K; ++k) {
            const std::int32_t pick = token.pick(k);
            batch.choice(t, k) = pick < 0 ? 0 : pick;
        }
    });
}

inline void weigh(Stream stream, SparsemixerBatch<float> batch, View<float, 2> p, View<float, 2> w) {
    const StepScalars* step = scalars(stream);
    const Index E = batch.z.extent(1), K = w.extent(1);
    elements("sparsemixer weights", cuda_stream(stream), w.extent(0), [=] __device__(Index t) {
        const auto token = batch.token(t, sparsemixer_key(batch.draw, *step));
        for (Index k = 0; k < K; ++k) w(t, k) = token.weigh(k, p.row(t) + k * E);
    });
}

inline void backward(Stream stream, View<const float, 2> p, View<const std::int32_t, 2> choice,
                     View<const float, 2> dw, View<float, 2> dz, Write write) {
    const Index E = dz.extent(1), K = dw.extent(1);
    elements("sparsemixer backward", cuda_stream(stream), dz.extent(0) * E, [=] __device__(Index i) {
        const Index t = i / E, j = i - t * E;
        float sum = 0;
        for (Index k = 0; k < K; ++k) {
            const float* own = p.row(t) + k * E;
            sum += dw(t, k) * own[choice(t, k)] * ((j == choice(t, k) ? 1.0f : 0.0f) - own[j]);
        }
        put(dz(t, j), sum, write);
    });
}

template <class Real>
constexpr SparsemixerKernels<Real> kernels{choose, weigh, backward};

}  // namespace
}  // namespace moegrad::cuda::sparsemixer

MOEGRAD_CUDA_FLOAT_SEAT(sparsemixer)
