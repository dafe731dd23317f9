#pragma once
// remap_slots: slots under other numbers.   local[t,k] = table[expert[t,k]],   expert[t,k] itself where it is negative
// An expert that the table leaves out is kUnused. So a stack that holds some of the experts runs its own part of a
// routing, and columns counted among some of them become columns among all.
// The table travels in the launch: no memory of its own, at most kMost entries. Saved: nothing.

#include <string>
#include <vector>

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/ops/null_slots.hpp>

namespace moegrad {

struct SlotTable {
    static constexpr Index kMost = 512;
    std::int16_t to[kMost];
    Index size = 0;  // experts that may come in

    MOEGRAD_HD constexpr std::int32_t at(std::int32_t expert) const {
        if (expert < 0) return expert;
        return expert < size ? to[expert] : kUnused;
    }

    /// Every expert left out.
    explicit SlotTable(Index experts) : size(experts) {
        if (experts < 0 || experts > kMost) {
            throw Error{ErrorCode::unsupported, "remap_slots", format("at most {} experts", kMost),
                        format("{}", experts)};
        }
        for (auto& entry : to) entry = static_cast<std::int16_t>(kUnused);
    }
    /// Expert list[i] of `experts` becomes i.
    static SlotTable among(Index experts, const std::vector<Index>& list) {
        SlotTable table(experts);
        for (std::size_t i = 0; i < list.size(); ++i) {
            table.require(list[i], experts);
            table.to[list[i]] = static_cast<std::int16_t>(i);
        }
        return table;
    }
    /// The other way: i becomes list[i].
    static SlotTable back(const std::vector<Index>& list) {
        SlotTable table(static_cast<Index>(list.size()));
        for (std::size_t i = 0; i < list.size(); ++i) {
            table.require(list[i], kMost);
            table.to[i] = static_cast<std::int16_t>(list[i]);
        }
        return table;
    }
    /// Expert list[i] of `experts` is left out, the others keep their numbers.
    static SlotTable without(Index experts, const std::vector<Index>& list) {
        SlotTable table(experts);
        for (Index e = 0; e < experts; ++e) table.to[e] = static_cast<std::int16_t>(e);
        for (const Index e : list) {
            table.require(e, experts);
            table.to[e] = static_cast<std::int16_t>(kUnused);
        }
        return table;
    }

private:
    static void require(Index expert, Index experts) {
        if (expert >= 0 && expert < experts) return;
        throw Error{ErrorCode::value, "remap_slots", format("experts 0 to {}", experts - 1),
                    format("{}", expert)};
    }
};

template <class Real>
struct RemapSlotsKernels {
    void (*remap)(Stream, View<const std::int32_t, 2> expert, SlotTable, View<std::int32_t, 2> local);
};

/// Integers only: the one seat of a device is that of float32.
inline constinit KernelSlot<RemapSlotsKernels> remap_slots_slot{"remap_slots", Proof::reference};

/// expert [T, K] -> [T, K]. An expert at or beyond the table's size is left out.
inline Tensor<std::int32_t> remap_slots(Tape& tape, const Tensor<std::int32_t>& expert,
                                        const SlotTable& table) {
    if (expert.shape().rank() != 2) {
        throw Error{ErrorCode::shape, "remap_slots", "expert [T, K]", "expert " + expert.shape().text()};
    }
    auto local = tape.make<std::int32_t>(expert.shape());
    remap_slots_slot.get<float>(tape.device())
        .remap(tape.stream(), expert.view<2>(), table, local.template view<2>());
    return local;
}

}  // namespace moegrad
