#pragma once
// CPU kernels of ops/lora_linear.hpp. The base product comes first; the chain of each element goes on over R.

#include <moegrad/cpu/support/drop_row.hpp>
#include <moegrad/cpu/support/products.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/lora_linear.hpp>

namespace moegrad::cpu::lora_linear {
namespace {

template <class Real>
void drop_rows(Stream stream, View<const Real, 2> x, const DroppedInput<Real>& dropped, View<Real, 2> y,
               Write write) {
    const DropoutMask mask = dropout_mask(stream.scalars(), dropped.dropout);
    for_rows(stream, x.extent(0), 4 * x.extent(1), [&](Index t) {
        drop_row(mask, dropped.keys.sample(t), dropped.keys.position(t), x.row(t), y.row(t), x.extent(1),
                 write);
    });
}

/// drop(x): x itself at rate 0.
template <class Real>
View<const Real, 2> drop(Stream stream, View<const Real, 2> x, const DroppedInput<Real>& dropped) {
    if (dropped.dropout.rate == 0) return x;
    drop_rows(stream, x, dropped, dropped.room, Write::overwrite);
    return dropped.room;
}

template <class Real>
void scale_rows(Stream stream, View<Real, 2> u, double scale) {
    for_rows(stream, u.extent(0), u.extent(1), [&](Index t) {
        for (Index r = 0; r < u.extent(1); ++r) u(t, r) *= Real(scale);
    });
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 2> w, View<const Real, 2> A,
             View<const Real, 2> B, double scale, DroppedInput<Real> dropped, View<std::int32_t, 1>,
             View<Real, 2> u, View<Real, 2> y) {
    multiply_rows(stream, x, w, y, Write::overwrite);
    multiply_rows(stream, drop(stream, x, dropped), A, u, Write::overwrite);
    scale_rows(stream, u, scale);
    multiply_rows<Real>(stream, u, B, y, Write::accumulate);
}

template <class Real>
void backward_rank(Stream stream, View<const Real, 2> dy, View<const Real, 2> B, double scale,
                   View<Real, 2> du) {
    multiply_back(stream, dy, B, du, Write::overwrite);
    scale_rows(stream, du, scale);
}

template <class Real>
void backward_ranks(Stream stream, View<const Real, 2> dy, View<const Real, 2> B, View<const Real, 2> u,
                    double scale, View<Wide<Real>, 1>, View<Real, 2> du, View<Wide<Real>, 2> dB,
                    Write write) {
    multiply_weight(stream, dy, u, dy.extent(0), dB, write);
    backward_rank(stream, dy, B, scale, du);
}

template <class Real>
void backward_input(Stream stream, View<const Real, 2> dy, View<const Real, 2> w, View<const Real, 2> du,
                    View<const Real, 2> A, DroppedInput<Real> dropped, View<std::int32_t, 1>,
                    View<Real, 2> dx, Write write) {
    multiply_back(stream, dy, w, dx, write);
    if (dropped.dropout.rate == 0) {
        multiply_back(stream, du, A, dx, Write::accumulate);
        return;
    }
    multiply_back(stream, du, A, dropped.room, Write::overwrite);
    drop_rows<Real>(stream, dropped.room, dropped, dx, Write::accumulate);
}

template <class Real>
void backward_down(Stream stream, View<const Real, 2> x, View<const Real, 2> du, DroppedInput<Real> dropped,
                   View<Wide<Real>, 2> dA, Write write) {
    multiply_weight(stream, du, drop(stream, x, dropped), x.extent(0), dA, write);
}

template <class Real>
constexpr LoraLinearKernels<Real> kernels{forward<Real>, backward_rank<Real>, backward_ranks<Real>,
                                          backward_input<Real>, backward_down<Real>};

}  // namespace
}  // namespace moegrad::cpu::lora_linear

MOEGRAD_CPU_SEATS(lora_linear)
