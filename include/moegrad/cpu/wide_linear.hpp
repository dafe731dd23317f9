#pragma once
// CPU kernels of ops/wide_linear.hpp: x is widened, and dx is rounded once, when it is stored or added.

#include <moegrad/cpu/support/products.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/wide_linear.hpp>

namespace moegrad::cpu::wide_linear {
namespace {

/// y = s y, to the bit where s is 1.
template <class Real>
void scale_rows(Stream stream, View<Real, 2> y, double scale) {
    for_rows(stream, y.extent(0), y.extent(1), [&](Index t) {
        for (Index e = 0; e < y.extent(1); ++e) y(t, e) *= Real(scale);
    });
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Wide<Real>, 2> w, double scale,
             WideLinearRoom<Real> room, View<Wide<Real>, 2> y) {
    cast_slot.get<Real>(Device::cpu).widen(stream, x, room.wide, Write::overwrite);
    multiply_rows<Wide<Real>>(stream, room.wide, w, y, Write::overwrite);
    scale_rows(stream, y, scale);
}

template <class Real>
void backward(Stream stream, View<const Real, 2> x, View<const Wide<Real>, 2> w, View<const Wide<Real>, 2> dy,
              double scale, WideLinearRoom<Real> room, View<Real, 2> dx, Write write_x,
              View<Wide<Real>, 2> dw, Write write_w) {
    using W = Wide<Real>;
    for_rows(stream, dy.extent(0), dy.extent(1), [&](Index t) {
        for (Index e = 0; e < dy.extent(1); ++e) room.scaled(t, e) = W(scale) * dy(t, e);
    });
    if (dw.data != nullptr) {
        cast_slot.get<Real>(Device::cpu).widen(stream, x, room.wide, Write::overwrite);
        multiply_weight<W>(stream, room.scaled, room.wide, x.extent(0), dw, write_w);
    }
    if (dx.data != nullptr) {
        multiply_back<W>(stream, room.scaled, w, room.wide, Write::overwrite);
        cast_slot.get<Real>(Device::cpu).narrow(stream, room.wide, dx, write_x);
    }
}

template <class Real>
constexpr WideLinearKernels<Real> kernels{forward<Real>, backward<Real>};

[[maybe_unused]] const bool bf16_seat = wide_linear_slot.fill<bf16>(Device::cpu, kernels<bf16>);

}  // namespace
}  // namespace moegrad::cpu::wide_linear
