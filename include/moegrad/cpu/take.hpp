#pragma once
// CPU kernels of ops/take.hpp. Rows are independent.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/take.hpp>

namespace moegrad::cpu::take {
namespace {

template <class Real>
void forward(Stream stream, View<const Real, 2> p, View<const std::int32_t, 2> index, View<Real, 2> w,
             Index groups) {
    const Index E = p.extent(1) / groups, K = index.extent(1) / groups;
    for_rows(stream, index.extent(0), index.extent(1), [&](Index t) {
        for (Index j = 0; j < groups * K; ++j) {
            const Index column = index(t, j);
            if (column >= E) {
                throw Error{ErrorCode::value, "take", format("an index below {}", E),
                            format("{} for token {}, slot {}", column, t, j)};
            }
            w(t, j) = column < 0 ? Real(0) : p(t, j / K * E + column);
        }
    });
}

template <class Real>
void backward(Stream stream, View<const std::int32_t, 2> index, View<const Real, 2> dw, View<Real, 2> dp,
              Index groups, Write write) {
    const Index E = dp.extent(1) / groups, K = index.extent(1) / groups;
    for_rows(stream, dp.extent(0), dp.extent(1), [&](Index t) {
        if (write == Write::overwrite) {
            for (Index c = 0; c < dp.extent(1); ++c) dp(t, c) = Real(0);
        }
        for (Index j = 0; j < groups * K; ++j) {
            if (index(t, j) >= 0) dp(t, j / K * E + index(t, j)) += dw(t, j);
        }
    });
}

template <class Real>
constexpr TakeKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::take

MOEGRAD_CPU_SEATS(take)
