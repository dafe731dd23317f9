#pragma once
// CPU kernels of ops/attention_pool.hpp. Segments are independent.

#include <algorithm>

#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/attention_pool.hpp>

namespace moegrad::cpu::attention_pool {
namespace {

template <class Real>
Real product(View<const Real, 2> a, Index i, View<const Real, 2> b, Index j) {
    return sum_of<Real>(a.extent(1), [&](Index d) { return a(i, d) * b(j, d); });
}

template <class Real>
Real scale_of(Index D) {
    return Real(1 / std::sqrt(static_cast<double>(std::max<Index>(D, 1))));
}

template <class Real>
void forward(Stream stream, View<const Real, 2> q, View<const Real, 2> x, View<const std::int32_t, 1> begin,
             View<Real, 1> p, View<Real, 2> a) {
    const Index S = q.extent(0), D = q.extent(1), N = x.extent(0);
    for_rows(stream, S, 4 * D * (N / std::max<Index>(S, 1) + 1), [&](Index s) {
        const Index from = begin(s), to = begin(s + 1);
        for (Index d = 0; d < D; ++d) a(s, d) = Real(0);
        if (from == to) return;
        for (Index j = from; j < to; ++j) p(j) = scale_of<Real>(D) * product<Real>(q, s, x, j);
        auto largest = real_part(p(from));
        for (Index j = from; j < to; ++j) largest = std::max(largest, real_part(p(j)));
        for (Index j = from; j < to; ++j) p(j) = moegrad::exp(p(j) - Real(largest));
        const Real sum = sum_of<Real>(to - from, [&](Index j) { return p(from + j); });
        for (Index j = from; j < to; ++j) {
            p(j) = p(j) / sum;
            for (Index d = 0; d < D; ++d) a(s, d) += p(j) * x(j, d);
        }
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> q, View<const Real, 2> x, View<const std::int32_t, 1> begin,
              View<const Real, 1> p, View<const Real, 2> da, View<Real, 1> slope, View<Real, 2> dq,
              Write write_q, View<Real, 2> dx, Write write_x) {
    const Index S = q.extent(0), D = q.extent(1), N = x.extent(0);
    if (dx.data != nullptr && write_x == Write::overwrite) {
        for_rows(stream, N, D, [&](Index j) {
            if (j < begin(0) || j >= begin(S)) std::fill_n(dx.row(j), D, Real(0));
        });
    }
    for_rows(stream, S, 6 * D * (N / std::max<Index>(S, 1) + 1), [&](Index s) {
        const Index from = begin(s), to = begin(s + 1);
        for (Index j = from; j < to; ++j) slope(j) = product<Real>(da, s, x, j);
        const Real mean = sum_of<Real>(to - from, [&](Index j) { return p(from + j) * slope(from + j); });
        for (Index j = from; j < to; ++j) slope(j) = scale_of<Real>(D) * p(j) * (slope(j) - mean);
        if (dq.data != nullptr) {
            for (Index d = 0; d < D; ++d) {
                Real sum = Real(0);
                for (Index j = from; j < to; ++j) sum += slope(j) * x(j, d);
                put(dq(s, d), sum, write_q);
            }
        }
        if (dx.data == nullptr) return;
        for (Index j = from; j < to; ++j) {
            for (Index d = 0; d < D; ++d) put(dx(j, d), p(j) * da(s, d) + slope(j) * q(s, d), write_x);
        }
    });
}

template <class Real>
constexpr AttentionPoolKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::attention_pool

MOEGRAD_CPU_SEATS(attention_pool)
