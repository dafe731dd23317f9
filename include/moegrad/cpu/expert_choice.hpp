#pragma once
// CPU kernel of ops/expert_choice.hpp. Columns of groups are independent.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/cpu/support/select_best.hpp>
#include <moegrad/ops/expert_choice.hpp>

namespace moegrad::cpu::expert_choice {
namespace {

template <class Real>
void choose_column(View<const Real, 2> score, const ChoiceGroups& groups, Index g, Index e, double share,
                   View<std::int32_t, 2> choice) {
    std::vector<Index> rows;
    for (Index t = groups.first(g); t < groups.end(g); ++t) {
        choice(t, e) = kUnused;
        if (groups.valid(t) == 0) continue;
        if (score(t, e) != score(t, e)) {
            throw Error{ErrorCode::value, "expert_choice", "scores that are numbers",
                        format("NaN for token {}, column {}", t, e),
                        "the router's input or weight is not finite; look at the layers before it"};
        }
        rows.push_back(t);
    }
    const Index C = choice_capacity(static_cast<Index>(rows.size()), share);
    select_best(rows, C, [&](Index t) { return score(t, e); });
    for (Index c = 0; c < C; ++c) {
        choice(rows[static_cast<std::size_t>(c)], e) = static_cast<std::int32_t>(e);
    }
}

template <class Real>
void choose(Stream stream, View<const Real, 2> score, ChoiceGroups groups, double share,
            View<std::int32_t, 2> choice) {
    const Index E = score.extent(1);
    stream.pool().parallel_for(groups.count * E, [&](Index item) {
        choose_column(score, groups, item / E, item % E, share, choice);
    });
}

template <class Real>
constexpr ExpertChoiceKernels<Real> kernels{choose<Real>};

}  // namespace
}  // namespace moegrad::cpu::expert_choice

MOEGRAD_CPU_SEATS(expert_choice)
