#pragma once
// CPU kernel of ops/stats_total.hpp.

#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/stats_total.hpp>

namespace moegrad::cpu::stats_total {
namespace {

template <class Real>
void add(Stream, View<const std::int64_t, 1> words, View<std::int64_t, 1> total) {
    for (Index i = 0; i < total.extent(0); ++i) total(i) += words(i);
}

template <class Real>
constexpr StatsTotalKernels<Real> kernels{add<Real>};

}  // namespace
}  // namespace moegrad::cpu::stats_total

MOEGRAD_CPU_SEATS(stats_total)
