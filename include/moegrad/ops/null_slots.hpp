#pragma once
// The slots of a token after top-k over true and null experts (AdaMoE, arXiv 2406.13233).
//   classify:     expert[t,k] = choice[t,k] if it is a true expert (< E), -2 if it is a null one, -1 if token t is padding
//   keep_true:    y[t,k] = w[t,k] where expert[t,k] >= 0, else 0            dw = dy there, else 0
//   null_weight:  y[t]   = sum_k w[t,k] over slots with expert[t,k] = -2    dw = dy[t] there, else 0
// Saved: expert [T, K].

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

inline constexpr std::int32_t kUnused = -1;   // no expert in this slot
inline constexpr std::int32_t kNull = -2;     // a null expert: no row, no FLOP
inline constexpr std::int32_t kDropped = -3;  // an expert that had no room

template <class Real>
struct NullSlotsKernels {
    void (*classify)(Stream, View<const std::int32_t, 2> choice, View<const std::uint8_t, 1> valid,
                     Index true_experts, View<std::int32_t, 2> expert);
    void (*keep_true)(Stream, View<const Real, 2> w, View<const std::int32_t, 2> expert, View<Real, 2> y,
                      Write);
    void (*null_weight)(Stream, View<const Real, 2> w, View<const std::int32_t, 2> expert, View<Real, 1> y);
    void (*null_weight_backward)(Stream, View<const Real, 1> dy, View<const std::int32_t, 2> expert,
                                 View<Real, 2> dw, Write);
};

inline constinit KernelSlot<NullSlotsKernels> null_slots_slot{"null_slots"};

/// choice [T, K] column indices (negative: unused) -> expert [T, K] as Routing has it.
template <class Real>
Tensor<std::int32_t> classify_slots(Tape& tape, const Tensor<std::int32_t>& choice, const Segments& segments,
                                    Index true_experts) {
    if (choice.rows() != segments.tokens()) {
        throw Error{ErrorCode::shape, "classify_slots", format("one row per token ({})", segments.tokens()),
                    "choice " + choice.shape().text()};
    }
    auto expert = tape.make<std::int32_t>(choice.shape());
    null_slots_slot.get<Real>(tape.device())
        .classify(tape.stream(), choice.view<2>(), segments.valid.view<1>(), true_experts, expert.view<2>());
    return expert;
}

/// w [T, K] with every slot that holds no true expert set to 0.
template <class Real>
Var<Real> keep_true(Tape& tape, const Var<Real>& w, const Tensor<std::int32_t>& expert) {
    if (!(w.shape() == expert.shape())) {
        throw Error{ErrorCode::shape, "keep_true", "w and expert of one shape",
                    format("w {}, expert {}", w.shape().text(), expert.shape().text())};
    }
    const auto& kernels = null_slots_slot.get<Real>(tape.device());
    auto y = tape.output<Real>(w.shape(), w.needs_gradient());
    kernels.keep_true(tape.stream(), w.template view<2>(), expert.view<2>(), y.value().template view<2>(),
                      Write::overwrite);
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, stream = tape.stream(), expert, dy = y.gradient(),
                               dw = w.gradient()] {
        auto target = dw->target();
        const View<const Real, 2> dy_view = dy->tensor().template view<2>();
        kernels.keep_true(stream, dy_view, expert.view<2>(), target.tensor.template view<2>(), target.write);
    });
    return y;
}

/// [T]: the weight that a token gives to its null slots.
template <class Real>
Var<Real> null_weight(Tape& tape, const Var<Real>& w, const Tensor<std::int32_t>& expert) {
    if (!(w.shape() == expert.shape())) {
        throw Error{ErrorCode::shape, "null_weight", "w and expert of one shape",
                    format("w {}, expert {}", w.shape().text(), expert.shape().text())};
    }
    const auto& kernels = null_slots_slot.get<Real>(tape.device());
    auto y = tape.output<Real>({w.extent(0)}, w.needs_gradient());
    kernels.null_weight(tape.stream(), w.template view<2>(), expert.view<2>(), y.value().template view<1>());
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(),
                [&kernels, stream = tape.stream(), expert, dy = y.gradient(), dw = w.gradient()] {
                    auto target = dw->target();
                    const View<const Real, 1> dy_view = dy->tensor().template view<1>();
                    kernels.null_weight_backward(stream, dy_view, expert.view<2>(),
                                                 target.tensor.template view<2>(), target.write);
                });
    return y;
}

}  // namespace moegrad
