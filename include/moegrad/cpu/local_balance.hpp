#pragma once
// CPU kernels of ops/local_balance.hpp. Segments are summed independently, each over its valid tokens in order; the moments
// are one chain over segments and experts: neither threads nor padding change a bit.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/local_balance.hpp>

namespace moegrad::cpu::local_balance {
namespace {

/// Z of segment s into row(s); whether it has a valid token.
template <class Real>
bool weigh_segment(View<const Real, 2> p, View<const std::uint8_t, 1> valid, Index begin, Index end,
                   std::int32_t task, double* Z, const LocalBalanceOptions& options) {
    const Index E = p.extent(1);
    bool any = false;
    std::fill_n(Z, E, 0.0);
    for (Index t = begin; t < end; ++t) {
        if (valid(t) == 0) continue;
        any = true;
        for (Index e = 0; e < E; ++e) Z[e] += static_cast<double>(p(t, e));
    }
    for (Index e = 0; e < E; ++e) Z[e] *= local_importance(options, task, e, E);
    return any;
}

inline void require_task(View<const std::int32_t, 1> task, Index s, Index types) {
    if (task(s) >= 0 && task(s) < types) return;
    throw Error{
        ErrorCode::value, "local_balance", format("a task in [0, {})", types),
        task(s) == kNoTask ? format("none for segment {}", s) : format("{} for segment {}", task(s), s),
        "give each record of the data its \"task\""};
}

template <class Real>
void forward(Stream stream, View<const Real, 2> p, View<const std::int32_t, 1> begin,
             View<const std::uint8_t, 1> valid, View<const std::int32_t, 1> task, View<Real, 1> loss,
             View<Real, 2> slope, View<double, 2> room, LocalBalanceOptions options) {
    const Index S = slope.extent(0), E = slope.extent(1);
    for_rows(stream, S, p.extent(0) * E / std::max<Index>(1, S), [&](Index s) {
        room(s, E) = weigh_segment(p, valid, begin(s), begin(s + 1), task(s), room.row(s), options);
    });
    double n = 0, mean = 0, variance = 0;
    for (Index s = 0; s < S; ++s) {
        if (room(s, E) == 0) continue;
        require_task(task, s, options.types);
        for (Index e = 0; e < E; ++e) mean += room(s, e);
        n += static_cast<double>(E);
    }
    mean = n > 0 ? mean / n : 0;
    for (Index s = 0; s < S; ++s) {
        for (Index e = 0; e < E && room(s, E) != 0; ++e)
            variance += (room(s, e) - mean) * (room(s, e) - mean);
    }
    const bool squared = options.form == LocalBalanceOptions::Form::squared;
    const LocalBalance balance{n, mean, n > 1 ? variance / (squared ? n - 1 : n) : 0, squared};
    loss(0) = static_cast<Real>(balance.loss());
    for_rows(stream, S, 4 * E, [&](Index s) {
        for (Index e = 0; e < E; ++e) {
            const double own = local_importance(options, task(s), e, E);
            slope(s, e) = static_cast<Real>(room(s, E) != 0 ? own * balance.slope(room(s, e)) : 0);
        }
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> slope, View<const std::int32_t, 1> segment,
              View<const std::uint8_t, 1> valid, View<const Real, 1> dloss, View<Real, 2> dp, Write write) {
    for_rows(stream, dp.extent(0), dp.extent(1), [&](Index t) {
        for (Index e = 0; e < dp.extent(1); ++e)
            put(dp(t, e), valid(t) != 0 ? dloss(0) * slope(segment(t), e) : Real(0), write);
    });
}

template <class Real>
constexpr LocalBalanceKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::local_balance

MOEGRAD_CPU_SEATS(local_balance)
