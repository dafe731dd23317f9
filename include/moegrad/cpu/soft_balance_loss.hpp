#pragma once
// CPU kernel of ops/soft_balance_loss.hpp. Segments are independent; within one the valid tokens are added in order: the
// bits depend neither on the other segments nor on where the padding is.

#include <type_traits>
#include <vector>

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/soft_balance_loss.hpp>

namespace moegrad::cpu::soft_balance_loss {
namespace {

/// Long sums of float are made in double.
template <class Real>
using Sum = std::conditional_t<std::is_same_v<Real, float>, double, Real>;

template <class Real>
void forward(Stream stream, View<const Real, 2> p, View<const Real, 2> w, View<const std::int32_t, 1> begin,
             View<const std::uint8_t, 1> valid, View<Real, 1> loss, View<Real, 2> by_p, View<Real, 2> by_w,
             View<double, 2>, BalanceOptions::Scope scope) {
    const Index T = p.extent(0), C = p.extent(1), groups = loss.extent(0);
    const bool sequence = scope == BalanceOptions::Scope::sequence;
    for_rows(stream, groups, 2 * T * C / std::max<Index>(1, groups), [&](Index s) {
        std::vector<Sum<Real>> mass(static_cast<std::size_t>(C)), load(static_cast<std::size_t>(C));
        Index n = 0;
        for (Index t = sequence ? begin(s) : 0; t < (sequence ? begin(s + 1) : T); ++t) {
            if (valid(t) == 0) continue;
            ++n;
            for (Index c = 0; c < C; ++c) {
                mass[static_cast<std::size_t>(c)] += Sum<Real>(p(t, c));
                load[static_cast<std::size_t>(c)] += Sum<Real>(w(t, c));
            }
        }
        const double tokens = static_cast<double>(std::max<Index>(1, n));
        const double factor = static_cast<double>(C) / tokens / tokens;
        Sum<Real> total{};
        for (Index c = 0; c < C; ++c) {
            const Sum<Real> P = mass[static_cast<std::size_t>(c)], F = load[static_cast<std::size_t>(c)];
            total += F * P;
            by_p(s, c) = Real(F * factor);
            by_w(s, c) = Real(P * factor);
        }
        loss(s) = Real(total * factor);
    });
}

template <class Real>
constexpr SoftBalanceLossKernels<Real> kernels{forward<Real>};

}  // namespace
}  // namespace moegrad::cpu::soft_balance_loss

MOEGRAD_CPU_SEATS(soft_balance_loss)
