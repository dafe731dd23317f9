#pragma once
// CPU kernels of ops/renormalize.hpp. Groups of rows are independent; sums run in slot order.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/renormalize.hpp>

namespace moegrad::cpu::renormalize {
namespace {

/// One group: K weights and their indices.
template <class Real>
struct Group {
    const Real* w;
    const std::int32_t* index;
    Index K;

    bool takes_part(Index k) const { return index[k] >= 0; }
    Real sum() const {
        Real s = Real(0);
        for (Index k = 0; k < K; ++k) {
            if (takes_part(k)) s += w[k];
        }
        return s;
    }
};

template <class Real>
void forward(Stream stream, View<const Real, 2> w, View<const std::int32_t, 2> index, View<Real, 2> u,
             Index groups) {
    const Index K = w.extent(1) / groups;
    for_rows(stream, w.extent(0), w.extent(1), [&](Index t) {
        for (Index g = 0; g < groups; ++g) {
            const Group<Real> group{w.row(t) + g * K, index.row(t) + g * K, K};
            const Real sum = group.sum();
            Real* result = u.row(t) + g * K;
            for (Index k = 0; k < K; ++k) {
                result[k] = group.takes_part(k) && sum != Real(0) ? group.w[k] / sum : Real(0);
            }
        }
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> w, View<const std::int32_t, 2> index, View<const Real, 2> du,
              View<Real, 2> dw, Index groups, Write write) {
    const Index K = w.extent(1) / groups;
    for_rows(stream, w.extent(0), w.extent(1), [&](Index t) {
        for (Index g = 0; g < groups; ++g) {
            const Group<Real> group{w.row(t) + g * K, index.row(t) + g * K, K};
            const Real sum = group.sum();
            const bool alive = sum != Real(0);
            const Real* upstream = du.row(t) + g * K;
            Real mean = Real(0);
            for (Index k = 0; k < K; ++k) {
                if (alive && group.takes_part(k)) mean += group.w[k] / sum * upstream[k];
            }
            for (Index k = 0; k < K; ++k) {
                const bool learns = alive && group.takes_part(k);
                put(dw(t, g * K + k), learns ? (upstream[k] - mean) / sum : Real(0), write);
            }
        }
    });
}

template <class Real>
constexpr RenormalizeKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::renormalize

MOEGRAD_CPU_SEATS(renormalize)
