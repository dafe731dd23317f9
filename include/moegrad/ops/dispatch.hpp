#pragma once
// dispatch: from "which experts does a token use" to "which rows does an expert compute".
// A stable counting sort of the used slots by expert: the rows of expert e are expert_begin[e] up to but not
// including expert_begin[e+1], in (token, slot) order. Slots with a negative expert (unused, null, dropped)
// cost no row. The number of rows, N = expert_begin[E], is known on the device only; shapes use the bound, T K or a
// row budget below it, and rows from N on mean nothing. More rows than the bound: an error where the host sorts; a GPU
// leaves the last rows out and says so in its status word, which blocks the update.
// Saved: nothing (the plan itself is step memory: T K + 2 bound + E + 1 integers).

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

/// one_group defines expert_begin alone: its rows are not permuted.
struct DispatchPlan {
    Tensor<std::int32_t> expert_begin;  // [E + 1]  first row of each expert; expert_begin[E] = N
    Tensor<std::int32_t> row_token;     // [bound]  token of a row; -1 from N on
    Tensor<std::int32_t> row_slot;      // [bound]  t K + k of a row; -1 from N on
    Tensor<std::int32_t> slot_row;      // [T, K]   row of a slot; -1 where the slot has none
    Index experts = 0, slots = 0, tokens = 0;
    Index bound = 0;  // rows of a routed tensor, at least N: T K, or a row budget below it
};

/// What kernels get of a plan.
struct DispatchView {
    View<const std::int32_t, 1> expert_begin, row_token, row_slot;
    View<const std::int32_t, 2> slot_row;

    DispatchView() = default;
    explicit DispatchView(const DispatchPlan& plan)
        : expert_begin(plan.expert_begin.view<1>()),
          row_token(view_or_none<1>(plan.row_token)),
          row_slot(view_or_none<1>(plan.row_slot)),
          slot_row(view_or_none<2>(plan.slot_row)) {}

    /// Whether one expert has all rows, in their order.
    bool one_group() const { return row_token.data == nullptr; }
};

/// Sorts on a device count in chunks of so many slots, and need an integer of room for each chunk and expert.
inline constexpr Index kSortItems = 1024;
inline constexpr Index sort_chunks(Index slots) {
    return (slots + kSortItems - 1) / kSortItems;
}
inline Tensor<std::int32_t> sort_room(Context& context, Index slots, Index experts) {
    return context.make<std::int32_t>({experts * sort_chunks(slots)});
}

template <class Real>
struct DispatchKernels {
    void (*sort)(Stream, View<const std::int32_t, 2> expert, View<std::int32_t, 1> expert_begin,
                 View<std::int32_t, 1> row_token, View<std::int32_t, 1> row_slot,
                 View<std::int32_t, 2> slot_row, View<std::int32_t, 1> room);
    /// expert_begin [2] = {0, rows}
    void (*one_group)(Stream, Index rows, View<std::int32_t, 1> expert_begin);
};

/// Integers only: the one seat of a device is that of float32.
inline constinit KernelSlot<DispatchKernels> dispatch_slot{"dispatch", Proof::reference};

/// expert [T, K], each below `experts`; negative: no row. row_budget: most rows there may be; 0 means T K.
inline DispatchPlan dispatch(Tape& tape, const Tensor<std::int32_t>& expert, Index experts,
                             Index row_budget = 0) {
    constexpr Index kMostRows = std::int64_t{1} << 31;
    if (expert.shape().rank() != 2 || experts < 0 || expert.size() >= kMostRows) {
        throw Error{ErrorCode::shape, "dispatch", "expert [T, K] with T K < 2^31",
                    format("expert {}, {} experts", expert.shape().text(), experts)};
    }
    DispatchPlan plan;
    plan.experts = experts;
    plan.tokens = expert.extent(0);
    plan.slots = expert.extent(1);
    plan.bound = plan.tokens * plan.slots;
    if (row_budget > 0 && row_budget < plan.bound) plan.bound = row_budget;
    plan.expert_begin = tape.make<std::int32_t>({experts + 1});
    plan.row_token = tape.make<std::int32_t>({plan.bound});
    plan.row_slot = tape.make<std::int32_t>({plan.bound});
    plan.slot_row = tape.make<std::int32_t>({plan.tokens, plan.slots});
    const auto room = sort_room(tape.context(), expert.size(), experts);
    dispatch_slot.get<float>(tape.device())
        .sort(tape.stream(), expert.view<2>(), plan.expert_begin.view<1>(), plan.row_token.view<1>(),
              plan.row_slot.view<1>(), plan.slot_row.view<2>(), room.view<1>());
    return plan;
}

/// The plan of one expert that has all rows, in their order: for RowSource::rows, and without dropout, whose masks are of
/// tokens.
inline DispatchPlan one_group(Tape& tape, Index rows) {
    DispatchPlan plan;
    plan.experts = plan.slots = 1;
    plan.tokens = plan.bound = rows;
    plan.expert_begin = tape.make<std::int32_t>({2});
    dispatch_slot.get<float>(tape.device()).one_group(tape.stream(), rows, plan.expert_begin.view<1>());
    return plan;
}

}  // namespace moegrad
