#pragma once
// CPU kernel of ops/rope.hpp. Every pair is on its own.

#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/cpu/support/wide.hpp>
#include <moegrad/ops/rope.hpp>

namespace moegrad::cpu::rope {
namespace {

template <class Real>
void rotate(Stream stream, View<const Real, 2> x, View<const Wide<Real>, 2> cos,
            View<const Wide<Real>, 2> sin, View<const std::int32_t, 1> position, View<Real, 2> y,
            Rotation rotation, Write write) {
    const Index half = cos.extent(1);
    const Index heads = x.extent(1) / (2 * half);
    const Real direction = rotation == Rotation::forward ? Real(1) : Real(-1);
    for_vector_rows(stream, x.extent(0), 4 * x.extent(1), [&](Index t) {
        const Wide<Real>* c = cos.row(position(t));
        const Wide<Real>* s = sin.row(position(t));
        for (Index h = 0; h < heads; ++h) {
            const Real* x1 = x.row(t) + h * 2 * half;
            const Real* x2 = x1 + half;
            Real* y1 = y.row(t) + h * 2 * half;
            Real* y2 = y1 + half;
            for (Index i = 0; i < half; ++i) {
                const Real turn = direction * s[i];
                put(y1[i], x1[i] * c[i] - x2[i] * turn, write);
                put(y2[i], x2[i] * c[i] + x1[i] * turn, write);
            }
        }
    });
}

template <class Real>
constexpr RopeKernels<Real> kernels{rotate<Real>};

}  // namespace
}  // namespace moegrad::cpu::rope

MOEGRAD_CPU_SEATS(rope)
