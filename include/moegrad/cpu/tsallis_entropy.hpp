#pragma once
// CPU kernels of ops/tsallis_entropy.hpp. Rows are independent; sums in the order of sum_of.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/tsallis_entropy.hpp>

namespace moegrad::cpu::tsallis_entropy {
namespace {

template <class Real>
using Number = std::conditional_t<std::is_same_v<Real, float>, double, Real>;

template <class Real>
void forward(Stream stream, View<const Real, 2> p, View<const std::uint8_t, 1> valid, View<Real, 1> h,
             TsallisOptions options) {
    const Index E = p.extent(1);
    const TsallisTerms<Number<Real>> terms(options, E);
    for_rows(stream, p.extent(0), 16 * E, [&](Index t) {
        const Real* pt = p.row(t);
        const auto term = [&](Index e) { return terms.term(Number<Real>(pt[e])); };
        h(t) = is_valid(valid, t) ? Real(terms.value(sum_of<Number<Real>>(E, term))) : Real(0);
    });
}

template <class Real>
void backward(Stream stream, View<const Real, 2> p, View<const std::uint8_t, 1> valid, View<const Real, 1> dh,
              View<Real, 2> dp, Write write, TsallisOptions options) {
    const Index E = p.extent(1);
    const TsallisTerms<Number<Real>> terms(options, E);
    for_rows(stream, p.extent(0), 16 * E, [&](Index t) {
        for (Index e = 0; e < E; ++e) {
            const Real slope = is_valid(valid, t) ? Real(terms.slope(Number<Real>(p(t, e)))) : Real(0);
            put(dp(t, e), is_valid(valid, t) ? dh(t) * slope : Real(0), write);
        }
    });
}

template <class Real>
constexpr TsallisEntropyKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cpu::tsallis_entropy

MOEGRAD_CPU_SEATS(tsallis_entropy)
