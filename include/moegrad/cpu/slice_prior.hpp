#pragma once
// CPU kernels of ops/slice_prior.hpp. Rows are independent; sums in the order of sum_of.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/slice_prior.hpp>

namespace moegrad::cpu::slice_prior {
namespace {

template <class Real>
void gram(Stream stream, View<const Real, 2> h, View<const std::int32_t, 2> slot_row, View<const Real, 2> o,
          View<Real, 2> gram) {
    const Index E = slot_row.extent(1), D = o.extent(1);
    for_rows(stream, slot_row.extent(0), (E + 1) * (E + 1) * D / 2, [&](Index t) {
        if (slot_row(t, 0) < 0) return;
        const auto output = [&](Index e) { return e < E ? h.row(slot_row(t, e)) : o.row(t); };
        for (Index i = 0; i <= E; ++i) {
            for (Index j = 0; j <= i; ++j) {
                const Real *a = output(i), *b = output(j);
                gram(t, i * (E + 1) + j) = gram(t, j * (E + 1) + i) =
                    sum_of<Real>(D, [&](Index d) { return a[d] * b[d]; });
            }
        }
    });
}

template <class Real>
void choose(Stream stream, View<const Real, 2> gram, View<const std::int32_t, 2> slot_row, Index k,
            SlicePrior by, View<Real, 2> label) {
    const Index E = slot_row.extent(1);
    for_rows(stream, slot_row.extent(0), E * E, [&](Index t) {
        const bool rows = slot_row(t, 0) >= 0;
        const std::uint32_t chosen = rows ? SliceChoice<Real>{gram.row(t), E, k}(by) : 0;
        for (Index e = 0; e < E; ++e) label(t, e) = Real(chosen >> e & 1u);
    });
}

template <class Real>
constexpr SlicePriorKernels<Real> kernels{gram<Real>, choose<Real>};

}  // namespace
}  // namespace moegrad::cpu::slice_prior

MOEGRAD_CPU_SEATS(slice_prior)
