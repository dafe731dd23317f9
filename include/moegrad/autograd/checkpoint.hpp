#pragma once
// checkpoint: runs a segment without keeping its activations and runs it again in backward.
// The expert choices of the first run are recorded and replayed; the second run never decides. Random draws are keyed
// by position, so dropout masks are the same without any state.

#include <memory>
#include <vector>

#include <moegrad/autograd/tape.hpp>

namespace moegrad {

namespace detail {

/// dy as the gradient of a replayed output. Nobody else reads dy.
template <class Real>
void hand_over(const Var<Real>& again, const Tensor<Real>& dy) {
    if (!again.needs_gradient() || again.gradient()->adopt(dy)) return;
    // A segment that returns its input has a gradient there already.
    if (!dy.on_host()) {
        throw Error{ErrorCode::unsupported, "checkpoint", "a segment that computes something",
                    "one that returns its input, on a GPU", "leave the checkpoint out"};
    }
    const View<const Real, 2> from = dy.matrix();
    const View<Real, 2> into = again.gradient()->target().tensor.matrix();
    for (Index t = 0; t < from.rows(); ++t) {
        for (Index d = 0; d < from.columns(); ++d)
            into(t, d) = Real(static_cast<Wide<Real>>(into(t, d)) + static_cast<Wide<Real>>(from(t, d)));
    }
}

}  // namespace detail

/// y = segment(tape, x), one tensor in and one out; parameters the segment captures get their gradients as usual.
/// Saved: x and the choices.
template <class Real, class Segment>
Var<Real> checkpoint(Tape& tape, const Var<Real>& x, Segment segment) {
    // Inside a segment that is itself replayed the outer one keeps the choices: run plainly.
    if (!tape.recording() || tape.selections() != nullptr) return segment(tape, x);
    auto choices = std::make_shared<Selections>();
    Tensor<Real> value;
    {
        Tape forward(tape.context(), Mode::inference);
        forward.set_selections(choices.get());
        forward.set_trains(tape.trains());
        value = segment(forward, Var<Real>(x.value())).value();
    }
    auto y = tape.wrap(value, true);
    tape.record(y.gradient(),
                [&context = tape.context(), x, segment, choices, dy = y.gradient(), trains = tape.trains()] {
                    Tape replay(context);
                    replay.set_trains(trains);
                    choices->rewind();
                    replay.set_selections(choices.get());
                    // Neither is held while the replay runs back: it adds to gradients in place.
                    detail::hand_over(segment(replay, x), dy->give());
                    replay.backward();
                });
    return y;
}

}  // namespace moegrad
