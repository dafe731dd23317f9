#pragma once
// stack_weights: two small weights as one matrix of a stack of one, for one product in the place of two.
//     below:      y[0] = [a; b]               a [R, C], b [S, C] -> [1, R + S, C]         A of two adapters that read one x
//     diagonal:   y[0] = [a 0; 0 b]           a [R, C], b [S, Q] -> [1, R + S, C + Q]     their B
// backward:       da, db = their blocks of dy; what dy says of the zeros is not used
// With an undefined b y is a, as a stack. The values are copies: nothing is rounded.
// Saved: nothing; y lives for as long as its user does.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

enum class Stacking { below, diagonal };

template <class Real>
struct StackWeightsKernels {
    /// The rows of a, which begin in the first column, above those of b, which end in the last; zeros beside them.
    void (*place)(Stream, View<const Real, 2> a, View<const Real, 2> b, View<Real, 2> y);
    /// to (+)= from, a window of dy: any pitch.
    void (*take)(Stream, View<const Wide<Real>, 2> from, View<Wide<Real>, 2> to, Write);
};

inline constinit KernelSlot<StackWeightsKernels> stack_weights_slot{"stack_weights"};

namespace detail {

template <class Real>
void check_stack_weights(const Weight<Real>& a, const Weight<Real>& b, Stacking stacking) {
    const bool alone = !b.defined();
    if (a.shape().rank() == 2 && (alone || (b.shape().rank() == 2 && (stacking == Stacking::diagonal ||
                                                                      a.extent(1) == b.extent(1))))) {
        return;
    }
    throw Error{ErrorCode::shape, "stack_weights", "a [R, C] and b [S, C], or any b where they lie diagonal",
                format("a {}, b {}", a.shape().text(), alone ? "none" : b.shape().text())};
}

}  // namespace detail

/// a [R, C], b [S, Q] or none -> [1, R + S, C], or diagonal [1, R + S, C + Q].
template <class Real>
Weight<Real> stack_weights(Tape& tape, const Weight<Real>& a, const Weight<Real>& b, Stacking stacking) {
    detail::check_stack_weights(a, b, stacking);
    const auto& kernels = stack_weights_slot.get<Real>(tape.device());
    const Index R = a.extent(0), C = a.extent(1), S = b.defined() ? b.extent(0) : 0,
                Q = b.defined() ? b.extent(1) : 0;
    const auto y = tape.make<Real>({1, R + S, stacking == Stacking::diagonal ? C + Q : C});
    kernels.place(tape.stream(), a.template view<2>(), view_or_none<2>(b.value()),
                  y.slice(0).template view<2>());
    if (!tape.recording() || !(a.needs_gradient() || b.needs_gradient())) return Weight<Real>(y);
    const auto dy = std::make_shared<Gradient<Wide<Real>>>(tape.context(), y.shape());
    tape.record(dy, [&kernels, stream = tape.stream(), dy, R, C, S, Q, da = a.gradient(), db = b.gradient()] {
        const Tensor<Wide<Real>> whole = dy->tensor().slice(0);
        if (da) {
            auto to = da->target();
            kernels.take(stream, whole.rows(0, R).columns(0, C).template view<2>(),
                         to.tensor.template view<2>(), to.write);
        }
        if (db) {
            auto to = db->target();
            const Index end = whole.columns();
            kernels.take(stream, whole.rows(R, R + S).columns(end - Q, end).template view<2>(),
                         to.tensor.template view<2>(), to.write);
        }
    });
    return Weight<Real>(y, dy);
}

}  // namespace moegrad
