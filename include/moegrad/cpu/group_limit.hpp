#pragma once
// CPU kernel of ops/group_limit.hpp. Rows are independent.

#include <limits>

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/group_limit.hpp>

namespace moegrad::cpu::group_limit {
namespace {

template <class Real>
void limit(Stream stream, View<const Real, 2> x, View<Real, 2> y, GroupLimit limit) {
    constexpr Real off = -std::numeric_limits<Real>::infinity();
    const Index C = x.extent(1);
    for_rows(stream, x.extent(0), (1 + limit.groups) * C, [&](Index t) {
        for (Index j = 0; j < limit.groups; ++j) {
            const bool kept = limit.keeps(x.row(t), j);
            for (Index c = limit.begin(j); c < limit.begin(j + 1); ++c) {
                y(t, c) = kept || x(t, c) != x(t, c) ? x(t, c) : off;
            }
        }
        for (Index c = limit.columns; c < C; ++c) y(t, c) = x(t, c);
    });
}

template <class Real>
constexpr GroupLimitKernels<Real> kernels{limit<Real>};

}  // namespace
}  // namespace moegrad::cpu::group_limit

MOEGRAD_CPU_SEATS(group_limit)
