#pragma once
// combine: the weighted sum of what a token's experts gave, in slot order.
//     y[t,d] = sum_{k: slot_row[t,k] >= 0} weight[t,k] h[slot_row[t,k], d]  (+ passthrough[t] x[t,d])
// backward:   dh[row(t,k)] = weight[t,k] dy[t],   dweight[t,k] = <dy[t], h[row(t,k)]>  (0 without a row),
//             dpassthrough[t] = <dy[t], x[t]>,    dx[t] = passthrough[t] dy[t]
// A token without experts gets exactly 0. Sums are in Wide<Real>; rows of h and dh from N on are not touched.
// Saved: slot_row, weight [T, K]; h [N, D] when weight learns; passthrough [T], x [T, D] when it learns.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/ops/dispatch.hpp>

namespace moegrad {

template <class Real>
struct CombineKernels {
    /// passthrough and x may be empty.
    void (*forward)(Stream, View<const Real, 2> h, View<const Wide<Real>, 2> weight,
                    View<const std::int32_t, 2> slot_row, View<const Wide<Real>, 1> passthrough,
                    View<const Real, 2> x, View<Real, 2> y);
    /// dh, or else dweight, may be empty: nobody needs it. h is read for dweight alone.
    void (*backward_slots)(Stream, View<const Real, 2> h, View<const Wide<Real>, 2> weight,
                           View<const std::int32_t, 2> slot_row, View<const Real, 2> dy, View<Real, 2> dh,
                           Write write_rows, View<Wide<Real>, 2> dweight, Write write_weight);
    void (*backward_passthrough)(Stream, View<const Real, 2> x, View<const Real, 2> dy,
                                 View<Wide<Real>, 1> dpassthrough, Write);
    void (*backward_input)(Stream, View<const Wide<Real>, 1> passthrough, View<const Real, 2> dy,
                           View<Real, 2> dx, Write);
};

inline constinit KernelSlot<CombineKernels> combine_slot{"combine"};

namespace detail {

template <class Real>
void check_combine(const Var<Real>& h, const Var<Wide<Real>>& weight, const DispatchPlan& plan,
                   const Var<Wide<Real>>& passthrough, const Var<Real>& x) {
    const Shape slots{plan.tokens, plan.slots};
    if (h.shape().rank() != 2 || h.extent(0) != plan.bound || !(weight.shape() == slots)) {
        throw Error{ErrorCode::shape, "combine", format("h [{}, D] and weight {}", plan.bound, slots.text()),
                    format("h {}, weight {}", h.shape().text(), weight.shape().text())};
    }
    if (passthrough.defined() != x.defined()) {
        throw Error{ErrorCode::state, "combine", "passthrough and x together", "one of them"};
    }
    if (!x.defined()) return;
    if (!(x.shape() == Shape{plan.tokens, h.extent(1)}) || !(passthrough.shape() == Shape{plan.tokens})) {
        throw Error{ErrorCode::shape, "combine",
                    format("x [{}, {}] and passthrough [{}]", plan.tokens, h.extent(1), plan.tokens),
                    format("x {}, passthrough {}", x.shape().text(), passthrough.shape().text())};
    }
}

/// Gradients of h and of the weights.
template <class Real>
void record_combine_rows(Tape& tape, const Var<Real>& h, const Var<Wide<Real>>& weight,
                         const DispatchPlan& plan, const Var<Real>& y) {
    if (!h.needs_gradient() && !weight.needs_gradient()) return;
    const auto& kernels = combine_slot.get<Real>(tape.device());
    const Tensor<Real> kept = weight.needs_gradient() ? h.value() : Tensor<Real>();
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), kept, row_gradient = h.gradient(), weight,
                               slot_row = plan.slot_row, dy = y.gradient()] {
        GradientTarget<Real> dh{{}, Write::overwrite};
        GradientTarget<Wide<Real>> dweight{{}, Write::overwrite};
        if (row_gradient) dh = row_gradient->target();
        if (weight.needs_gradient()) dweight = weight.gradient()->target();
        kernels.backward_slots(stream, view_or_none<2>(kept), weight.template view<2>(),
                               slot_row.template view<2>(), dy->tensor().template view<2>(),
                               view_or_none<2>(dh.tensor), dh.write, view_or_none<2>(dweight.tensor),
                               dweight.write);
    });
}

/// Gradients of x and of its weight.
template <class Real>
void record_combine_passthrough(Tape& tape, const Var<Wide<Real>>& passthrough, const Var<Real>& x,
                                const Var<Real>& y) {
    if (!x.needs_gradient() && !passthrough.needs_gradient()) return;
    const auto& kernels = combine_slot.get<Real>(tape.device());
    const Tensor<Real> kept = passthrough.needs_gradient() ? x.value() : Tensor<Real>();
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), kept, input_gradient = x.gradient(),
                               passthrough, dy = y.gradient()] {
        const View<const Real, 2> dy_view = dy->tensor().template view<2>();
        if (passthrough.needs_gradient()) {
            auto dpassthrough = passthrough.gradient()->target();
            kernels.backward_passthrough(stream, kept.template view<2>(), dy_view,
                                         dpassthrough.tensor.template view<1>(), dpassthrough.write);
        }
        if (input_gradient) {
            auto dx = input_gradient->target();
            kernels.backward_input(stream, passthrough.template view<1>(), dy_view,
                                   dx.tensor.template view<2>(), dx.write);
        }
    });
}

}  // namespace detail

/// h [T K, D] of which N rows count, weight [T, K] -> [T, D]. passthrough [T] and x [T, D] come together or
/// not.
template <class Real>
Var<Real> combine(Tape& tape, const Var<Real>& h, const Var<Wide<Real>>& weight, const DispatchPlan& plan,
                  const Var<Wide<Real>>& passthrough = {}, const Var<Real>& x = {}) {
    detail::check_combine(h, weight, plan, passthrough, x);
    auto y =
        tape.output<Real>({plan.tokens, h.extent(1)}, h.needs_gradient() || weight.needs_gradient() ||
                                                          passthrough.needs_gradient() || x.needs_gradient());
    const bool given = x.defined();
    combine_slot.get<Real>(tape.device())
        .forward(tape.stream(), h.template view<2>(), weight.template view<2>(), plan.slot_row.view<2>(),
                 given ? passthrough.template view<1>() : View<const Wide<Real>, 1>(),
                 given ? x.template view<2>() : View<const Real, 2>(), y.value().template view<2>());
    if (!y.needs_gradient()) return y;
    detail::record_combine_rows(tape, h, weight, plan, y);
    if (given) detail::record_combine_passthrough(tape, passthrough, x, y);
    return y;
}

}  // namespace moegrad
