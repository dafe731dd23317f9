#pragma once
// CPU kernel of ops/remap_slots.hpp.

#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/remap_slots.hpp>

namespace moegrad::cpu::remap_slots {
namespace {

inline void remap(Stream stream, View<const std::int32_t, 2> expert, SlotTable table,
                  View<std::int32_t, 2> local) {
    for_rows(stream, expert.extent(0), expert.extent(1), [&](Index t) {
        for (Index k = 0; k < expert.extent(1); ++k) local(t, k) = table.at(expert(t, k));
    });
}

constexpr RemapSlotsKernels<float> kernels{remap};
[[maybe_unused]] const bool integer_seat = remap_slots_slot.fill<float>(Device::cpu, kernels);

}  // namespace
}  // namespace moegrad::cpu::remap_slots
