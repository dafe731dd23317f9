#pragma once
// CPU kernels of ops/combine.hpp. Tokens are independent; a row of h is owned by one slot: dh has one writer.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/combine.hpp>

namespace moegrad::cpu::combine {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> h, View<const Wide<Real>, 2> weight,
             View<const std::int32_t, 2> slot_row, View<const Wide<Real>, 1> passthrough,
             View<const Real, 2> x, View<Real, 2> y) {
    static_assert(std::is_same_v<Real, Wide<Real>>, "y is the accumulator");
    const Index D = y.extent(1), K = slot_row.extent(1);
    for_rows(stream, y.extent(0), D * K, [&](Index t) {
        Real* yt = y.row(t);
        for (Index d = 0; d < D; ++d) yt[d] = Real(0);
        for (Index k = 0; k < K; ++k) {
            if (slot_row(t, k) < 0) continue;
            const Real* row = h.row(slot_row(t, k));
            const Real w = weight(t, k);
            for (Index d = 0; d < D; ++d) yt[d] += w * row[d];
        }
        if (x.data == nullptr) return;
        const Real* xt = x.row(t);
        for (Index d = 0; d < D; ++d) yt[d] += passthrough(t) * xt[d];
    });
}

template <class Real>
void backward_rows(Stream stream, View<const Wide<Real>, 2> weight, View<const std::int32_t, 2> slot_row,
                   View<const Real, 2> dy, View<Real, 2> dh, Write write) {
    const Index D = dy.extent(1), K = slot_row.extent(1);
    for_rows(stream, dy.extent(0), D * K, [&](Index t) {
        const Real* dyt = dy.row(t);
        for (Index k = 0; k < K; ++k) {
            if (slot_row(t, k) < 0) continue;
            Real* row = dh.row(slot_row(t, k));
            for (Index d = 0; d < D; ++d) put(row[d], weight(t, k) * dyt[d], write);
        }
    });
}

template <class Real>
void backward_weight(Stream stream, View<const Real, 2> h, View<const std::int32_t, 2> slot_row,
                     View<const Real, 2> dy, View<Wide<Real>, 2> dweight, Write write) {
    const Index D = dy.extent(1), K = slot_row.extent(1);
    for_rows(stream, dy.extent(0), D * K, [&](Index t) {
        const Real* dyt = dy.row(t);
        for (Index k = 0; k < K; ++k) {
            Real dot = Real(0);
            if (slot_row(t, k) >= 0) {
                const Real* row = h.row(slot_row(t, k));
                dot = sum_of<Real>(D, [&](Index d) { return dyt[d] * row[d]; });
            }
            put(dweight(t, k), dot, write);
        }
    });
}

template <class Real>
void backward_slots(Stream stream, View<const Real, 2> h, View<const Wide<Real>, 2> weight,
                    View<const std::int32_t, 2> slot_row, View<const Real, 2> dy, View<Real, 2> dh,
                    Write write_rows, View<Wide<Real>, 2> dweight, Write write_weight) {
    if (dweight.data) backward_weight(stream, h, slot_row, dy, dweight, write_weight);
    if (dh.data) backward_rows(stream, weight, slot_row, dy, dh, write_rows);
}

template <class Real>
void backward_passthrough(Stream stream, View<const Real, 2> x, View<const Real, 2> dy,
                          View<Wide<Real>, 1> dpassthrough, Write write) {
    const Index D = dy.extent(1);
    for_rows(stream, dy.extent(0), D, [&](Index t) {
        const Real *xt = x.row(t), *dyt = dy.row(t);
        put(dpassthrough(t), sum_of<Real>(D, [&](Index d) { return dyt[d] * xt[d]; }), write);
    });
}

template <class Real>
void backward_input(Stream stream, View<const Wide<Real>, 1> passthrough, View<const Real, 2> dy,
                    View<Real, 2> dx, Write write) {
    const Index D = dy.extent(1);
    for_rows(stream, dy.extent(0), D, [&](Index t) {
        const Real* dyt = dy.row(t);
        for (Index d = 0; d < D; ++d) put(dx(t, d), passthrough(t) * dyt[d], write);
    });
}

template <class Real>
constexpr CombineKernels<Real> kernels{forward<Real>, backward_slots<Real>, backward_passthrough<Real>,
                                       backward_input<Real>};

}  // namespace
}  // namespace moegrad::cpu::combine

MOEGRAD_CPU_SEATS(combine)
