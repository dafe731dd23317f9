#pragma once
// CPU kernel of ops/capacity.hpp. Groups are independent; within one the slots ask in order.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/best_columns.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/capacity.hpp>

#include <numeric>
#include <vector>

namespace moegrad::cpu::capacity {
namespace {

/// What is left of the places of a group's experts.
class Places {
public:
    Places(View<const std::int32_t, 2> expert, View<std::int32_t, 2> kept, Index each, Index experts)
        : expert_(expert), kept_(kept), left_(static_cast<std::size_t>(experts), each) {}

    void ask(Index t, Index k) {
        const std::int32_t e = expert_(t, k);
        kept_(t, k) = e;
        if (e < 0) return;
        if (e >= static_cast<std::int32_t>(left_.size())) {
            throw Error{ErrorCode::value, "capacity", format("experts below {}", left_.size()),
                        format("{} for token {}, slot {}", e, t, k)};
        }
        Index& left = left_[static_cast<std::size_t>(e)];
        if (left == 0) kept_(t, k) = kDropped;
        left -= left > 0;
    }

private:
    View<const std::int32_t, 2> expert_;
    View<std::int32_t, 2> kept_;
    std::vector<Index> left_;
};

template <class Real>
void place(Stream stream, View<const std::int32_t, 2> expert, View<const Real, 2> priority,
           View<const std::int32_t, 1> begin, View<const std::int32_t, 1>, View<const std::uint8_t, 1> valid,
           View<std::int32_t, 1> queue, View<std::int32_t, 2> kept, CapacityOptions options) {
    const Index T = expert.extent(0), K = expert.extent(1);
    const bool sequence = options.scope == BalanceOptions::Scope::sequence;
    const bool sorted = options.order == CapacityOrder::priority;
    const Index groups = sequence ? begin.extent(0) - 1 : 1;
    for_rows(stream, groups, 32 * T * K / std::max<Index>(1, groups), [&](Index s) {
        const Index from = sequence ? begin(s) : 0, to = sequence ? begin(s + 1) : T;
        Index n = 0;
        for (Index t = from; t < to; ++t) n += valid(t) != 0;
        Places places(expert, kept, options.places(n), options.experts);
        if (options.order == CapacityOrder::token) {
            for (Index i = 0; i < (to - from) * K; ++i) places.ask(from + i / K, i % K);
            return;
        }
        std::int32_t* own = queue.data + from;
        if (sorted) {
            for (Index t = from; t < to; ++t)
                if (valid(t) != 0) require_numbers("capacity", priority.row(t), 1, t);
            std::iota(own, own + (to - from), static_cast<std::int32_t>(from));
            std::stable_sort(own, own + (to - from), [&](std::int32_t a, std::int32_t b) {
                const Real p = priority(a, 0), q = priority(b, 0);
                return p > q || (p == p && q != q);  // padding may hold NaN
            });
        }
        for (Index k = 0; k < K; ++k) {
            for (Index i = 0; i < to - from; ++i) places.ask(sorted ? own[i] : from + i, k);
        }
    });
}

template <class Real>
constexpr CapacityKernels<Real> kernels{place<Real>};

}  // namespace
}  // namespace moegrad::cpu::capacity

MOEGRAD_CPU_SEATS(capacity)
