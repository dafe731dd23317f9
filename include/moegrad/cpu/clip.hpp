#pragma once
// CPU kernel of ops/clip.hpp. An op that meets a bad value on the CPU throws, so only numbers are looked at here.

#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/clip.hpp>

#include <cmath>

namespace moegrad::cpu::clip {
namespace {

template <class Real>
void apply(Stream stream, View<const double, 1> square, View<const double, 1> watched, double limit,
           View<double, 1> report) {
    double sum = 0;
    for (Index p = 0; p < square.extent(0); ++p) sum += square(p);
    const double norm = std::sqrt(sum);
    bool finite = std::isfinite(norm);
    for (Index i = 0; i < watched.extent(0); ++i) finite = finite && std::isfinite(watched(i));
    StepScalars& scalars = stream.context().scalars();
    scalars.clip_scale = limit > 0 && norm > limit ? limit / norm : 1.0;
    scalars.blocked = finite ? 0 : 1;
    report(kClipNorm) = norm;
    report(kClipScale) = scalars.clip_scale;
    report(kClipBlocked) = static_cast<double>(scalars.blocked);
}

template <class Real>
constexpr ClipKernels<Real> kernels{apply<Real>};

}  // namespace
}  // namespace moegrad::cpu::clip

MOEGRAD_CPU_SEATS(clip)
