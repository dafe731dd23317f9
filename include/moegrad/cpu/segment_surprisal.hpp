#pragma once
// CPU kernels of ops/segment_surprisal.hpp. Segments are independent; sums in the order of sum_of.

#include <moegrad/core/math.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/segment_surprisal.hpp>

namespace moegrad::cpu::segment_surprisal {
namespace {

inline bool has_rows(View<const std::int32_t, 1> begin, View<const std::uint8_t, 1> valid, Index s) {
    for (Index t = begin(s); t < begin(s + 1); ++t) {
        if (valid(t) != 0) return true;
    }
    return false;
}

template <class Real>
void forward(Stream stream, View<const Real, 2> p, View<const std::int32_t, 1> begin,
             View<const std::uint8_t, 1> valid, double c, View<Real, 1> value) {
    const Index E = p.extent(1);
    for_rows(stream, p.extent(0), 8 * E, [&](Index s) {
        const Real sum = sum_of<Real>(E, [&](Index e) { return moegrad::log(p(s, e)); });
        value(s) = has_rows(begin, valid, s) ? Real(-c) * sum : Real(0);
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> p, View<const std::int32_t, 1> begin,
              View<const std::uint8_t, 1> valid, double c, View<const Real, 1> dvalue, View<Real, 2> dp,
              Write write) {
    const Index E = p.extent(1);
    for_rows(stream, p.extent(0), 8 * E, [&](Index s) {
        const bool counts = has_rows(begin, valid, s);
        for (Index e = 0; e < E; ++e) {
            put(dp(s, e), counts ? Real(-c) * dvalue(s) / p(s, e) : Real(0), write);
        }
    });
}

template <class Real>
constexpr SegmentSurprisalKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::segment_surprisal

MOEGRAD_CPU_SEATS(segment_surprisal)
