#pragma once
// CPU kernels of ops/null_slots.hpp.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/null_slots.hpp>

namespace moegrad::cpu::null_slots {
namespace {

inline void classify(Stream stream, View<const std::int32_t, 2> choice, View<const std::uint8_t, 1> valid,
                     Index true_experts, View<std::int32_t, 2> expert) {
    for_rows(stream, choice.extent(0), choice.extent(1), [&](Index t) {
        for (Index k = 0; k < choice.extent(1); ++k) {
            const std::int32_t c = choice(t, k);
            expert(t, k) = valid(t) == 0 || c < 0 ? kUnused : c < true_experts ? c : kNull;
        }
    });
}

template <class Real>
void keep_true(Stream stream, View<const Real, 2> w, View<const std::int32_t, 2> expert, View<Real, 2> y,
               Write write) {
    for_rows(stream, w.extent(0), w.extent(1), [&](Index t) {
        for (Index k = 0; k < w.extent(1); ++k) put(y(t, k), expert(t, k) >= 0 ? w(t, k) : Real(0), write);
    });
}

template <class Real>
void null_weight(Stream stream, View<const Real, 2> w, View<const std::int32_t, 2> expert, View<Real, 1> y) {
    for_rows(stream, w.extent(0), w.extent(1), [&](Index t) {
        Real sum = Real(0);
        for (Index k = 0; k < w.extent(1); ++k) {
            if (expert(t, k) == kNull) sum += w(t, k);
        }
        y(t) = sum;
    });
}

template <class Real>
void null_weight_backward(Stream stream, View<const Real, 1> dy, View<const std::int32_t, 2> expert,
                          View<Real, 2> dw, Write write) {
    for_rows(stream, expert.extent(0), expert.extent(1), [&](Index t) {
        for (Index k = 0; k < expert.extent(1); ++k)
            put(dw(t, k), expert(t, k) == kNull ? dy(t) : Real(0), write);
    });
}

template <class Real>
constexpr NullSlotsKernels<Real> kernels{classify, keep_true<Real>, null_weight<Real>,
                                         null_weight_backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::null_slots

MOEGRAD_CPU_SEATS(null_slots)
