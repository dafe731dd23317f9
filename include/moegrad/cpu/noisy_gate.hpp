#pragma once
// CPU kernels of ops/noisy_gate.hpp. Tokens are independent.

#include <moegrad/core/math.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/noisy_gate.hpp>

namespace moegrad::cpu::noisy_gate {
namespace {

/// place = of(t, e) for every element, or += that.
template <class Real, class Of>
void each(Stream stream, View<Real, 2> y, Index cost, Write write, Of of) {
    for_rows(stream, y.extent(0), cost * y.extent(1), [&](Index t) {
        for (Index e = 0; e < y.extent(1); ++e) put(y(t, e), static_cast<Real>(of(t, e)), write);
    });
}

template <class Real>
void deviation(Stream stream, View<const Real, 2> r, View<Real, 2> s) {
    each(stream, s, 8, Write::overwrite,
         [&](Index t, Index e) { return softplus(r(t, e)) + Real(kNoiseFloor); });
}

template <class Real>
void deviation_backward(Stream stream, View<const Real, 2> r, View<const Real, 2> ds, View<Real, 2> dr,
                        Write write) {
    each(stream, dr, 8, write, [&](Index t, Index e) { return ds(t, e) * sigmoid(r(t, e)); });
}

template <class Real>
void load(Stream stream, NoisyLoadInput<Real> in, View<Real, 2> load) {
    each(stream, load, 64, Write::overwrite, [&](Index t, Index e) { return in.load(t, e); });
}

template <class Real>
void load_backward(Stream stream, NoisyLoadInput<Real> in, View<const Real, 2> dload, View<Real, 2> into,
                   Write write, NoisyLoadPart part) {
    each(stream, into, 64, write, [&](Index t, Index e) {
        if (part == NoisyLoadPart::noisy) return in.threshold_gradient(t, e, dload.row(t));
        const double g = static_cast<double>(dload(t, e)) * in.slope(t, e);
        if (part == NoisyLoadPart::clean || g == 0) return g;
        return -g * in.u(t, e);
    });
}

template <class Real>
constexpr NoisyGateKernels<Real> kernels{deviation<Real>, deviation_backward<Real>, load<Real>,
                                         load_backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::noisy_gate

MOEGRAD_CPU_SEATS(noisy_gate)
