#pragma once
// capacity: an expert takes at most C slots of a group (a segment, or the micro-batch); the others are dropped.
//     C = max(least, floor(n factor / E)),   n valid tokens of the group
// Order in which slots ask for a place:
//     choice     all first choices, then all second ones, ..; each in token order     GShard, mesh-tensorflow
//     token      token by token
//     priority   as choice, tokens by falling priority; equals in token order         batch priority routing; with K = 1 each
//                                                                                     expert keeps its most probable tokens
// Result: expert with kDropped where there was no place. Decisions are recorded and replayed as those of top_k.
// Saved: nothing.       Lepikhin et al. 2020 (GShard); Fedus et al. 2021 (Switch); Riquelme et al. 2021 (priority).

#include <moegrad/autograd/recorded_choice.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/ops/balance_loss.hpp>
#include <moegrad/ops/null_slots.hpp>

#include <algorithm>

namespace moegrad {

enum class CapacityOrder { choice, token, priority };

struct CapacityOptions {
    double factor = 1.25;
    Index least = 4;
    CapacityOrder order = CapacityOrder::choice;
    BalanceOptions::Scope scope = BalanceOptions::Scope::sequence;
    Index experts = 0;  // E

    /// C for a group of n valid tokens.
    MOEGRAD_HD constexpr Index places(Index n) const {
        const double wanted = static_cast<double>(n) * factor / static_cast<double>(experts);
        const Index whole = wanted < 0x1p62 ? static_cast<Index>(wanted) : Index{1} << 62;
        return whole < least ? least : whole;
    }
};

template <class Real>
struct CapacityKernels {
    /// priority [T, K], of which column 0 is read with CapacityOrder::priority; queue [T]: room for the tokens in that order.
    void (*place)(Stream, View<const std::int32_t, 2> expert, View<const Real, 2> priority,
                  View<const std::int32_t, 1> begin, View<const std::int32_t, 1> segment,
                  View<const std::uint8_t, 1> valid, View<std::int32_t, 1> queue, View<std::int32_t, 2> kept,
                  CapacityOptions);
};

inline constinit KernelSlot<CapacityKernels> capacity_slot{"capacity", Proof::reference};

/// expert [T, K] as classify_slots has them, priority [T, K] the probabilities of the slots, whose first one counts
/// (undefined but for CapacityOrder::priority) -> [T, K].
template <class Real>
Tensor<std::int32_t> capacity(Tape& tape, const Tensor<std::int32_t>& expert, const Tensor<Real>& priority,
                              const Segments& segments, const CapacityOptions& options) {
    const Index T = segments.tokens();
    const bool by_priority = options.order == CapacityOrder::priority;
    if (expert.shape().rank() != 2 || expert.extent(0) != T ||
        (by_priority && (!priority.defined() || !(priority.shape() == expert.shape())))) {
        throw Error{ErrorCode::shape, "capacity", format("expert and priority [{}, K]", T),
                    format("expert {}, priority {}", expert.shape().text(),
                           priority.defined() ? priority.shape().text() : "none")};
    }
    if (!(options.factor > 0) || options.least < 0 || options.experts < 1) {
        throw Error{
            ErrorCode::value, "capacity", "a factor above 0, at least 1 expert",
            format("factor {}, least {}, {} experts", options.factor, options.least, options.experts)};
    }
    return recorded_choice(tape, "capacity", expert.shape(), [&](const Tensor<std::int32_t>& kept) {
        const auto queue = tape.make<std::int32_t>({by_priority ? T : 0});
        capacity_slot.get<Real>(tape.device())
            .place(tape.stream(), expert.view<2>(),
                   by_priority ? priority.template view<2>() : View<Real, 2>{}, segments.begin.view<1>(),
                   segments.segment.view<1>(), segments.valid.view<1>(), queue.view<1>(), kept.view<2>(),
                   options);
    });
}

}  // namespace moegrad
