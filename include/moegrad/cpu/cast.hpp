#pragma once
// CPU kernels of ops/cast.hpp: the one op whose bf16 seat the CPU fills.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/cast.hpp>

namespace moegrad::cpu::cast {
namespace {

/// The sum is made in float, and rounded once.
template <class From, class To>
void put_cast(Stream stream, View<const From, 2> from, View<To, 2> to, Write write) {
    const Index D = from.extent(1);
    for_rows(stream, from.extent(0), D, [&](Index t) {
        for (Index d = 0; d < D; ++d) {
            Wide<To> value = static_cast<Wide<To>>(to(t, d));
            put(value, static_cast<Wide<From>>(from(t, d)), write);
            to(t, d) = To(value);
        }
    });
}

template <class Real>
constexpr CastKernels<Real> kernels{put_cast<Real, Wide<Real>>, put_cast<Wide<Real>, Real>};

[[maybe_unused]] const bool bf16_seat = cast_slot.fill<bf16>(Device::cpu, kernels<bf16>);

}  // namespace
}  // namespace moegrad::cpu::cast
