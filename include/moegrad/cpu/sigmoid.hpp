#pragma once
// CPU kernels of ops/sigmoid.hpp. Elements are independent.

#include <moegrad/core/math.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/sigmoid.hpp>

namespace moegrad::cpu::sigmoid {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<Real, 2> y) {
    const Index C = x.extent(1);
    for_rows(stream, x.extent(0), 8 * C, [&](Index t) {
        for (Index c = 0; c < C; ++c) y(t, c) = moegrad::sigmoid(x(t, c));
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> y, View<const Real, 2> dy, View<Real, 2> dx, Write write) {
    const Index C = y.extent(1);
    for_rows(stream, y.extent(0), C, [&](Index t) {
        for (Index c = 0; c < C; ++c) put(dx(t, c), dy(t, c) * (y(t, c) * (Real(1) - y(t, c))), write);
    });
}

template <class Real>
void log_forward(Stream stream, View<const Real, 2> x, View<Real, 2> y) {
    const Index C = x.extent(1);
    for_rows(stream, x.extent(0), 16 * C, [&](Index t) {
        for (Index c = 0; c < C; ++c) y(t, c) = -moegrad::softplus(-x(t, c));
    });
}

template <class Real>
void log_backward(Stream stream, View<const Real, 2> x, View<const Real, 2> dy, View<Real, 2> dx,
                  Write write) {
    const Index C = x.extent(1);
    for_rows(stream, x.extent(0), 8 * C, [&](Index t) {
        for (Index c = 0; c < C; ++c) put(dx(t, c), dy(t, c) * moegrad::sigmoid(-x(t, c)), write);
    });
}

template <class Real>
constexpr SigmoidKernels<Real> kernels{forward<Real>, backward<Real>, log_forward<Real>, log_backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::sigmoid

MOEGRAD_CPU_SEATS(sigmoid)
