#pragma once
// CPU kernels of ops/balance_loss.hpp. Segments are independent; within one the valid tokens are added in
// order: the bits depend neither on the other segments nor on where the padding is.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/group_slope.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/balance_loss.hpp>

namespace moegrad::cpu::balance_loss {
namespace {

/// Long sums of float are made in double.
template <class Real>
using Sum = std::conditional_t<std::is_same_v<Real, float>, double, Real>;

/// slope[c] = C f_c / n over the tokens [begin, end), n of them valid. A float counts exactly up to 2^24.
template <class Real>
void write_slope(View<const std::int32_t, 2> choice, View<const std::uint8_t, 1> valid, Index begin,
                 Index end, Index C, Real* slope, const BalanceOptions& options) {
    const Index K = choice.extent(1);
    for (Index c = 0; c < C; ++c) slope[c] = Real(0);
    Index n = 0;
    for (Index t = begin; t < end; ++t) {
        if (valid(t) == 0) continue;
        ++n;
        for (Index k = 0; k < K; ++k) {
            if (choice(t, k) >= 0) slope[choice(t, k)] += Real(1);
        }
    }
    if (n == 0 || K == 0) return;
    if (options.nulls == BalanceOptions::Nulls::averaged) {
        Real nulls = Real(0);
        for (Index c = options.true_experts; c < C; ++c) nulls += slope[c];
        for (Index c = options.true_experts; c < C; ++c) {
            slope[c] = nulls / Real(static_cast<double>(C - options.true_experts));
        }
    }
    const double per = static_cast<double>(n) *
                       (options.counts == BalanceOptions::Counts::share ? static_cast<double>(K) : 1.0);
    for (Index c = 0; c < C; ++c) slope[c] *= Real(static_cast<double>(C) / per / static_cast<double>(n));
}

inline void check_choice(View<const std::int32_t, 2> choice, Index C) {
    for (Index t = 0; t < choice.extent(0); ++t) {
        for (Index k = 0; k < choice.extent(1); ++k) {
            if (choice(t, k) < C) continue;
            throw Error{ErrorCode::value, "balance_loss", format("columns below {}", C),
                        format("{} for token {}, slot {}", choice(t, k), t, k)};
        }
    }
}

template <class Real>
void forward(Stream stream, View<const Real, 2> p, View<const std::int32_t, 2> choice,
             View<const std::int32_t, 1> begin, View<const std::uint8_t, 1> valid, View<Real, 1> loss,
             View<Real, 2> slope, View<double, 2>, BalanceOptions options) {
    const Index T = p.extent(0), C = p.extent(1);
    const bool sequence = options.scope == BalanceOptions::Scope::sequence;
    check_choice(choice, C);
    for_rows(stream, loss.extent(0), sequence ? T * C / std::max<Index>(1, loss.extent(0)) : T * C,
             [&](Index s) {
                 const Index from = sequence ? begin(s) : 0, to = sequence ? begin(s + 1) : T;
                 write_slope(choice, valid, from, to, C, slope.row(s), options);
                 Sum<Real> total{};
                 for (Index t = from; t < to; ++t) {
                     if (valid(t) == 0) continue;
                     Sum<Real> token{};
                     for (Index c = 0; c < C; ++c) token += Sum<Real>(slope(s, c)) * Sum<Real>(p(t, c));
                     total += token;
                 }
                 loss(s) = Real(total);
             });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> slope, View<const std::int32_t, 1> segment,
              View<const std::uint8_t, 1> valid, View<const Real, 1> dloss, View<Real, 2> dp, Write write,
              BalanceOptions options) {
    backward_by_slope(stream, slope, segment, valid, dloss, dp, write, options.scope);
}

template <class Real>
constexpr BalanceLossKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::balance_loss

MOEGRAD_CPU_SEATS(balance_loss)
