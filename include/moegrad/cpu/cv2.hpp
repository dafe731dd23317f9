#pragma once
// CPU kernels of ops/cv2.hpp. Segments are independent; within one the valid tokens are added in order: the bits depend
// neither on the other segments nor on where the padding is.

#include <moegrad/cpu/support/group_slope.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/cv2.hpp>

#include <vector>

namespace moegrad::cpu::cv2 {
namespace {

/// The loss of column sums c, and its slope by each of them.
template <class Real>
Real loss_of(const std::vector<double>& c, Real* slope) {
    const std::size_t E = c.size();
    double mean = 0, variance = 0;
    for (double sum : c) mean += sum;
    mean /= static_cast<double>(E);
    for (double sum : c) variance += (sum - mean) * (sum - mean);
    const double others = static_cast<double>(E) - 1, floor = mean * mean + kCv2Floor;
    variance = E > 1 ? variance / others : 0;
    for (std::size_t e = 0; e < E; ++e) {
        const double own = E > 1 ? 2 * (c[e] - mean) / others / floor : 0;
        slope[e] = static_cast<Real>(own - variance * (2 * mean / static_cast<double>(E)) / floor / floor);
    }
    return static_cast<Real>(variance / floor);
}

template <class Real>
void forward(Stream stream, View<const Real, 2> v, View<const std::int32_t, 1> begin,
             View<const std::uint8_t, 1> valid, View<Real, 1> loss, View<Real, 2> slope, View<double, 2>,
             BalanceOptions::Scope scope) {
    const Index T = v.extent(0), E = v.extent(1), groups = loss.extent(0);
    const bool sequence = scope == BalanceOptions::Scope::sequence;
    for_rows(stream, groups, T * E / std::max<Index>(1, groups), [&](Index s) {
        std::vector<double> sums(static_cast<std::size_t>(E));
        for (Index t = sequence ? begin(s) : 0; t < (sequence ? begin(s + 1) : T); ++t) {
            for (Index e = 0; valid(t) != 0 && e < E; ++e) {
                sums[static_cast<std::size_t>(e)] += static_cast<double>(v(t, e));
            }
        }
        loss(s) = E == 0 ? Real(0) : loss_of(sums, slope.row(s));
    });
}

template <class Real>
constexpr Cv2Kernels<Real> kernels{forward<Real>, backward_by_slope<Real>};

}  // namespace
}  // namespace moegrad::cpu::cv2

MOEGRAD_CPU_SEATS(cv2)
