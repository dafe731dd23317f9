#pragma once
// group_limit: the best groups of experts stay, all others are switched off (DeepSeek-V3's node limit, arXiv 2412.19437).
// Of the C columns of a row the first E lie in G groups, group j from column j E / G up to (j + 1) E / G; the rest, nulls,
// is in none.
//     score of a group = the sum of its `best` largest scores (2; DeepSeek-V2: 1), of all where it has fewer
//     y[t,c] = x[t,c] in the `keep` groups of the highest score (ties: the lower group) and behind column E, else -inf
// -inf and not 0: a dropped column with 0 beats kept ones with negative scores. A NaN stays wherever it stands, for the
// top_k that follows to report. Not differentiable.
// Saved: nothing.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

struct GroupLimit {
    Index columns = 0;  // E
    Index groups = 1;   // G
    Index keep = 1;
    Index best = 2;  // 1 or 2

    MOEGRAD_HD constexpr Index begin(Index group) const { return group * columns / groups; }

    /// Of the scores of one row.
    template <class Real>
    MOEGRAD_HD Real score(const Real* x, Index group) const {
        const Index from = begin(group), to = begin(group + 1);
        Index first = from;
        for (Index c = from; c < to; ++c) {
            if (x[c] > x[first]) first = c;
        }
        Index second = -1;
        for (Index c = from; c < to; ++c) {
            if (c != first && (second < 0 || x[c] > x[second])) second = c;
        }
        return best == 1 || second < 0 ? x[first] : x[first] + x[second];
    }
    /// Whether fewer than `keep` groups are better.
    template <class Real>
    MOEGRAD_HD bool keeps(const Real* x, Index group) const {
        const Real mine = score(x, group);
        Index better = 0;
        for (Index j = 0; j < groups; ++j) {
            const Real other = score(x, j);
            better += other > mine || (other == mine && j < group);
        }
        return better < keep;
    }
    /// The columns that are left to choose from, in the worst case.
    Index least() const { return keep * (columns / groups); }
};

template <class Real>
struct GroupLimitKernels {
    void (*limit)(Stream, View<const Real, 2> x, View<Real, 2> y, GroupLimit);
};

inline constinit KernelSlot<GroupLimitKernels> group_limit_slot{"group_limit", Proof::reference};

/// x [T, C] -> [T, C].
template <class Real>
Tensor<Real> group_limit(Tape& tape, const Tensor<Real>& x, const GroupLimit& limit) {
    const bool fits = x.shape().rank() == 2 && limit.columns <= x.extent(1) && limit.groups >= 1 &&
                      limit.groups <= limit.columns && limit.keep >= 1 && limit.keep <= limit.groups &&
                      (limit.best == 1 || limit.best == 2);
    if (!fits) {
        throw Error{ErrorCode::shape, "group_limit",
                    "x [T, C] with 1 <= keep <= groups <= columns <= C and best 1 or 2",
                    format("x {}, columns {}, groups {}, keep {}, best {}", x.shape().text(), limit.columns,
                           limit.groups, limit.keep, limit.best)};
    }
    auto y = tape.make<Real>(x.shape());
    group_limit_slot.get<Real>(tape.device())
        .limit(tape.stream(), x.template view<2>(), y.template view<2>(), limit);
    return y;
}

}  // namespace moegrad
