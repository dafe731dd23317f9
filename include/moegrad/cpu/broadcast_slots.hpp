#pragma once
// CPU kernel of ops/broadcast_slots.hpp. Tokens are independent.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/broadcast_slots.hpp>

namespace moegrad::cpu::broadcast_slots {
namespace {

template <class Real>
void forward(Stream stream, BroadcastSlots<Real> slots) {
    const Index C = slots.wide.extent(1);
    for_rows(stream, slots.wide.extent(0), C, [&](Index t) {
        if (slots.h(t) != slots.h(t)) {
            throw Error{ErrorCode::value, "broadcast_slots", "scores that are numbers",
                        format("NaN for token {}", t),
                        "the router's input or weight is not finite; look at the layers before it"};
        }
        const bool all = slots.everywhere(t);
        for (Index c = 0; c < C; ++c) slots.wide(t, c) = slots.slot(t, c, all);
    });
}

template <class Real>
constexpr BroadcastSlotsKernels<Real> kernels{forward<Real>};

}  // namespace
}  // namespace moegrad::cpu::broadcast_slots

MOEGRAD_CPU_SEATS(broadcast_slots)
