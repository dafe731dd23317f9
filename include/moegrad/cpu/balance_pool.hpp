#pragma once
// CPU kernels of ops/balance_pool.hpp. Each column is one chain over the valid tokens in order: the bits depend neither on
// the threads nor on where the padding is.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/balance_pool.hpp>

namespace moegrad::cpu::balance_pool {
namespace {

template <class Real>
void count(Stream stream, View<const Real, 2> p, View<const std::int32_t, 2> choice,
           View<const std::uint8_t, 1> valid, View<double, 1> sums, Write write) {
    const Index T = p.extent(0), C = p.extent(1), K = choice.extent(1);
    for_columns(stream, C, T * (K + 1), [&](Index begin, Index end) {
        for (Index c = begin; c < end; ++c) {
            double mass = 0, slots = 0;
            for (Index t = 0; t < T; ++t) {
                if (valid(t) == 0) continue;
                mass += static_cast<double>(p(t, c));
                for (Index k = 0; k < K; ++k) slots += choice(t, k) == c;
            }
            put(sums(c), mass, write);
            put(sums(C + c), slots, write);
        }
    });
    double tokens = 0;
    for (Index t = 0; t < T; ++t) {
        tokens += valid(t) != 0;
        for (Index k = 0; k < K; ++k) {
            if (choice(t, k) < C) continue;
            throw Error{ErrorCode::value, "balance_pool", format("columns below {}", C),
                        format("{} for token {}, slot {}", choice(t, k), t, k)};
        }
    }
    put(sums(2 * C), tokens, write);
}

template <class Real>
void finish(Stream, View<const double, 1> sums, Index K, View<Real, 1> loss, View<Real, 2> slope,
            BalanceOptions options) {
    const Index C = slope.extent(1);
    const double n = sums(2 * C);
    const double slots = options.counts == BalanceOptions::Counts::share ? static_cast<double>(K) : 1;
    const double factor = n > 0 && K > 0 ? static_cast<double>(C) / (n * slots) / n : 0;
    const Index separate = options.nulls == BalanceOptions::Nulls::averaged ? options.true_experts : C;
    double nulls = 0;
    for (Index c = separate; c < C; ++c) nulls += sums(C + c) / static_cast<double>(C - separate);
    double total = 0;
    for (Index c = 0; c < C; ++c) {
        slope(0, c) = Real((c < separate ? sums(C + c) : nulls) * factor);
        total += static_cast<double>(slope(0, c)) * sums(c);
    }
    loss(0) = Real(total);
}

template <class Real>
constexpr BalancePoolKernels<Real> kernels{count<Real>, finish<Real>};

}  // namespace
}  // namespace moegrad::cpu::balance_pool

MOEGRAD_CPU_SEATS(balance_pool)
