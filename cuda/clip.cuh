#pragma once
// CUDA kernel of ops/clip.hpp: one warp. Squares are added every 32nd a lane, then in a fixed tree. The step scalars are
// changed on the device alone: the host's copy is sent again when it changes, which begins the next step.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/clip.hpp>

namespace moegrad::cuda::clip {
namespace {

__device__ __forceinline__ bool finite(double x) {
    return fabs(x) <= 1.7976931348623157e308;
}

template <class Real>
void apply(Stream stream, View<const double, 1> square, View<const double, 1> watched, double limit,
           View<double, 1> report) {
    StepScalars* const step = scalars(stream);
    DeviceStatus* const seen = status();
    warps("clip", cuda_stream(stream), 1, [=] __device__(Index, int lane) {
        double sum = 0, bad = 0;
        for (Index p = lane; p < square.extent(0); p += kWarp) sum += square(p);
        for (Index i = lane; i < watched.extent(0); i += kWarp) bad += finite(watched(i)) ? 0 : 1;
        sum = warp_sum(sum);
        bad = warp_sum(bad);
        if (lane != 0) return;
        const double norm = sqrt(sum);
        if (!finite(norm) || bad > 0) seen->not_finite = 1;  // until the host takes it
        step->clip_scale = limit > 0 && norm > limit ? limit / norm : 1.0;
        step->blocked = seen->any() ? 1 : 0;
        report(kClipNorm) = norm;
        report(kClipScale) = step->clip_scale;
        report(kClipBlocked) = static_cast<double>(step->blocked);
    });
}

template <class Real>
constexpr ClipKernels<Real> kernels{apply<Real>};

}  // namespace
}  // namespace moegrad::cuda::clip

MOEGRAD_CUDA_FLOAT_SEAT(clip)
