#pragma once
// CPU kernel of ops/dispatch.hpp: count, scan, place; slots are visited in order, so the sort is stable.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/dispatch.hpp>

namespace moegrad::cpu::dispatch {
namespace {

inline void count(View<const std::int32_t, 2> expert, View<std::int32_t, 1> expert_begin) {
    const Index E = expert_begin.extent(0) - 1;
    for (Index e = 0; e <= E; ++e) expert_begin(e) = 0;
    for (Index t = 0; t < expert.extent(0); ++t) {
        for (Index k = 0; k < expert.extent(1); ++k) {
            const Index e = expert(t, k);
            if (e >= E) {
                throw Error{ErrorCode::value, "dispatch", format("experts below {}", E),
                            format("expert {} for token {}, slot {}", e, t, k)};
            }
            if (e >= 0) ++expert_begin(e + 1);
        }
    }
    for (Index e = 0; e < E; ++e) expert_begin(e + 1) += expert_begin(e);
}

inline void sort(Stream, View<const std::int32_t, 2> expert, View<std::int32_t, 1> expert_begin,
                 View<std::int32_t, 1> row_token, View<std::int32_t, 1> row_slot,
                 View<std::int32_t, 2> slot_row, View<std::int32_t, 1>) {
    const Index T = expert.extent(0), K = expert.extent(1), E = expert_begin.extent(0) - 1;
    count(expert, expert_begin);
    if (expert_begin(E) > row_token.extent(0)) {
        throw Error{
            ErrorCode::value, "dispatch", format("at most {} rows, the row budget", row_token.extent(0)),
            format("{} used slots", expert_begin(E)), "raise the row budget; 0 has room for every slot"};
    }
    for (Index row = expert_begin(E); row < row_token.extent(0); ++row) row_token(row) = row_slot(row) = -1;
    // expert_begin[e] runs over the rows of e and ends as the begin of e + 1.
    for (Index t = 0; t < T; ++t) {
        for (Index k = 0; k < K; ++k) {
            slot_row(t, k) = -1;
            if (expert(t, k) < 0) continue;
            const std::int32_t row = expert_begin(expert(t, k))++;
            slot_row(t, k) = row;
            row_token(row) = static_cast<std::int32_t>(t);
            row_slot(row) = static_cast<std::int32_t>(t * K + k);
        }
    }
    for (Index e = E; e > 0; --e) expert_begin(e) = expert_begin(e - 1);
    expert_begin(0) = 0;
}

inline void one_group(Stream, Index rows, View<std::int32_t, 1> expert_begin) {
    expert_begin(0) = 0;
    expert_begin(1) = static_cast<std::int32_t>(rows);
}

template <class Real>
constexpr DispatchKernels<Real> kernels{sort, one_group};

[[maybe_unused]] const bool integer_seat = dispatch_slot.fill<float>(Device::cpu, kernels<float>);

}  // namespace
}  // namespace moegrad::cpu::dispatch
