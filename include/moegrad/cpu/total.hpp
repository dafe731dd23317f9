#pragma once
// CPU kernel of ops/total.hpp: one chain that goes on from what `into` holds, so that no cut into micro-batches changes
// a bit.

#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/total.hpp>

namespace moegrad::cpu::total {
namespace {

template <class Real>
void sum(Stream, View<const Real, 1> value, View<const std::uint8_t, 1> valid, View<double, 1>,
         View<double, 1> into, Write write) {
    double chain = write == Write::overwrite ? 0 : into(0);
    for (Index i = 0; i < value.extent(0); ++i) {
        if (is_valid(valid, i)) chain += static_cast<double>(value(i));
    }
    into(0) = chain;
}

template <class Real>
constexpr TotalKernels<Real> kernels{sum<Real>};

}  // namespace
}  // namespace moegrad::cpu::total

MOEGRAD_CPU_SEATS(total)
