#pragma once
// CPU kernels of ops/scatter.hpp. Rows are independent.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/scatter.hpp>

namespace moegrad::cpu::scatter {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> w, View<const std::int32_t, 2> index, View<Real, 2> p,
             Index groups) {
    const Index E = p.extent(1) / groups, K = index.extent(1) / groups;
    for_rows(stream, p.extent(0), p.extent(1), [&](Index t) {
        for (Index c = 0; c < p.extent(1); ++c) p(t, c) = Real(0);
        for (Index j = 0; j < groups * K; ++j) {
            const Index column = index(t, j);
            if (column >= E) {
                throw Error{ErrorCode::value, "scatter", format("an index below {}", E),
                            format("{} for token {}, slot {}", column, t, j)};
            }
            if (column >= 0) p(t, j / K * E + column) += w(t, j);
        }
    });
}

template <class Real>
void backward(Stream stream, View<const std::int32_t, 2> index, View<const Real, 2> dp, View<Real, 2> dw,
              Index groups, Write write) {
    const Index E = dp.extent(1) / groups, K = index.extent(1) / groups;
    for_rows(stream, index.extent(0), index.extent(1), [&](Index t) {
        for (Index j = 0; j < groups * K; ++j) {
            const Index column = index(t, j);
            put(dw(t, j), column < 0 ? Real(0) : dp(t, j / K * E + column), write);
        }
    });
}

template <class Real>
constexpr ScatterKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::scatter

MOEGRAD_CPU_SEATS(scatter)
