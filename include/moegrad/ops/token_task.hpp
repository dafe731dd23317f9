#pragma once
// token_task: the task that a token's sample belongs to.
//     id[t] = task[segment[t]],   `usual` where the segment has none (kNoTask, or no tasks at all);   0 for padding
// A valid token whose task is outside [0, tasks) is an error; on a GPU it gets task 0 and sets status()->bad_index.
// Saved: nothing.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

/// One batch, for kernels.
struct TokenTask {
    View<const std::int32_t, 1> task;     // [S], or empty
    View<const std::int32_t, 1> segment;  // [T]
    View<const std::uint8_t, 1> valid;    // [T]
    std::int32_t usual;

    MOEGRAD_HD constexpr std::int32_t of(Index t) const {
        const std::int32_t own = task.size() > 0 ? task(segment(t)) : kNoTask;
        return own == kNoTask ? usual : own;
    }
};

template <class Real>
struct TokenTaskKernels {
    void (*read)(Stream, TokenTask, Index tasks, View<std::int32_t, 1> id);
};

inline constinit KernelSlot<TokenTaskKernels> token_task_slot{"token_task", Proof::reference};

/// -> [T], ids in [0, tasks). usual: kNoTask where every sample must say its task. Real: the type of the router.
template <class Real>
Tensor<std::int32_t> token_task(Tape& tape, const Segments& segments, Index tasks,
                                std::int32_t usual = kNoTask) {
    if (!segments.task.defined() && usual == kNoTask && segments.tokens() > 0) {
        throw Error{ErrorCode::data, "task", "a task for every sample", "none",
                    "give each record its \"task\", or set default_task in router.options"};
    }
    if (segments.task.defined() && !(segments.task.shape() == Shape{segments.count()})) {
        throw Error{ErrorCode::shape, "token_task", format("task [{}]", segments.count()),
                    segments.task.shape().text()};
    }
    auto id = tape.make<std::int32_t>({segments.tokens()});
    token_task_slot.get<Real>(tape.device())
        .read(tape.stream(),
              {view_or_none<1>(segments.task), segments.segment.view<1>(), segments.valid.view<1>(), usual},
              tasks, id.view<1>());
    return id;
}

}  // namespace moegrad
