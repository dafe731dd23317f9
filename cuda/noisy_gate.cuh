#pragma once
// CUDA kernels of ops/noisy_gate.hpp: an element a thread, the CPU's formulas.

#include <moegrad/core/math.hpp>
#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/noisy_gate.hpp>

namespace moegrad::cuda::noisy_gate {
namespace {

/// y = of(t, e) for every element, or y += that.
template <class Of>
void each(const char* place, Stream stream, View<float, 2> y, Write write, Of of) {
    const Index E = y.extent(1);
    elements(place, cuda_stream(stream), y.extent(0) * E, [=] __device__(Index i) {
        const Index t = i / E, e = i - t * E;
        put(y(t, e), of(t, e), write);
    });
}

inline void deviation(Stream stream, View<const float, 2> r, View<float, 2> s) {
    each("noise_deviation", stream, s, Write::overwrite, [=] __device__(Index t, Index e) -> float {
        return softplus(r(t, e)) + static_cast<float>(kNoiseFloor);
    });
}

inline void deviation_backward(Stream stream, View<const float, 2> r, View<const float, 2> ds,
                               View<float, 2> dr, Write write) {
    each("noise_deviation backward", stream, dr, write,
         [=] __device__(Index t, Index e) -> float { return ds(t, e) * sigmoid(r(t, e)); });
}

inline void load(Stream stream, NoisyLoadInput<float> in, View<float, 2> load) {
    each("noisy_load", stream, load, Write::overwrite,
         [=] __device__(Index t, Index e) -> float { return static_cast<float>(in.load(t, e)); });
}

inline void load_backward(Stream stream, NoisyLoadInput<float> in, View<const float, 2> dload,
                          View<float, 2> into, Write write, NoisyLoadPart part) {
    each("noisy_load backward", stream, into, write, [=] __device__(Index t, Index e) -> float {
        if (part == NoisyLoadPart::noisy)
            return static_cast<float>(in.threshold_gradient(t, e, dload.row(t)));
        const double g = static_cast<double>(dload(t, e)) * in.slope(t, e);
        return static_cast<float>(part == NoisyLoadPart::clean || g == 0 ? g : -g * in.u(t, e));
    });
}

template <class Real>
constexpr NoisyGateKernels<Real> kernels{deviation, deviation_backward, load, load_backward};

}  // namespace
}  // namespace moegrad::cuda::noisy_gate

MOEGRAD_CUDA_FLOAT_SEAT(noisy_gate)
