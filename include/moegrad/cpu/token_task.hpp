#pragma once
// CPU kernel of ops/token_task.hpp. Tokens are independent; the first wrong one in order is named.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/cpu/support/seats.hpp>
#include <moegrad/ops/token_task.hpp>

namespace moegrad::cpu::token_task {
namespace {

inline void read(Stream stream, TokenTask in, Index tasks, View<std::int32_t, 1> id) {
    for_rows(stream, id.size(), 4, [&](Index t) { id(t) = in.valid(t) != 0 ? in.of(t) : 0; });
    for (Index t = 0; t < id.size(); ++t) {
        if (id(t) >= 0 && id(t) < tasks) continue;
        throw Error{ErrorCode::value, "task", format("a task in [0, {})", tasks),
                    id(t) == kNoTask ? format("none for the sample of token {}", t)
                                     : format("{} for the sample of token {}", id(t), t),
                    "give each record its \"task\"; router.options has tasks and default_task"};
    }
}

template <class Real>
constexpr TokenTaskKernels<Real> kernels{read};

}  // namespace
}  // namespace moegrad::cpu::token_task

MOEGRAD_CPU_SEATS(token_task)
