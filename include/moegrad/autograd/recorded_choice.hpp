#pragma once
// recorded_choice: integer decisions [T, K] of an op. Where the tape carries selections (a checkpointed segment), the first
// run records what `decide` wrote, and the replay returns it without deciding again.

#include <moegrad/autograd/tape.hpp>

namespace moegrad {

/// decide(choice) fills a tensor of `shape` in step memory. op: its name in errors.
template <class Decide>
Tensor<std::int32_t> recorded_choice(Tape& tape, const char* op, const Shape& shape, const Decide& decide) {
    Selections* selections = tape.selections();
    if (selections != nullptr && selections->replaying()) {
        const Tensor<std::int32_t>& choice = selections->next();
        if (!(choice.shape() == shape)) {
            throw Error{ErrorCode::state, op, "a recorded choice " + shape.text(), choice.shape().text(),
                        "the replayed segment must run the same ops as the first time"};
        }
        return choice;
    }
    auto choice = tape.make<std::int32_t>(shape);
    decide(choice);
    if (selections != nullptr) selections->record(choice);
    return choice;
}

}  // namespace moegrad
