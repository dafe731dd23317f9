#pragma once
// linear_cross_entropy: the last Linear and its loss in one; the logits z = x w^T exist for a few rows only.
//     nll[t] = log sum_v exp z[t,v] - z[t,target[t]]          0 for unsupervised tokens (target = -100)
// backward, d = gradient of nll, p = softmax(z), e = one-hot of the target:
//     dx[t] = d[t] (p[t] - e[t]) w,     dw = sum over supervised t in order of d[t] (p[t] - e[t])^T x[t]
// Forward already makes xhat = (p - e) w while the logits are there; dw computes them once more.
// The bits do not depend on how many rows share a piece. A logit of +infinity or NaN gives a NaN loss, which
// the step then reports.
// Saved: xhat [n, D], row [n] (the n supervised tokens), target [T]; with a trainable w also x [T, D].

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

#include <algorithm>

namespace moegrad {

template <class Real>
struct LinearCrossEntropyKernels {
    /// nll [T], all written; xhat [n, D], or empty when nobody needs it. row: the supervised tokens in order.
    void (*forward)(Stream, View<const Real, 2> x, View<const Real, 2> w, View<const std::int32_t, 1> target,
                    View<const std::int32_t, 1> row, View<Wide<Real>, 2> logits, View<Wide<Real>, 1> nll,
                    View<Real, 2> xhat);
    void (*backward_input)(Stream, View<const std::int32_t, 1> row, View<const Wide<Real>, 1> d,
                           View<const Real, 2> xhat, View<Real, 2> dx, Write);
    void (*backward_weight)(Stream, View<const Real, 2> x, View<const Real, 2> w,
                            View<const std::int32_t, 1> target, View<const std::int32_t, 1> row,
                            View<const Wide<Real>, 1> d, View<Wide<Real>, 2> logits,
                            View<Wide<Real>, 2> dw, Write);
};

inline constinit KernelSlot<LinearCrossEntropyKernels> linear_cross_entropy_slot{"linear_cross_entropy"};

/// Rows of logits held at once: about 2^21 values, whatever the vocabulary.
inline Index cross_entropy_rows(Index n, Index V) {
    const Index fitting = (Index{1} << 21) / std::max<Index>(V, 1);
    return std::min(n, std::max<Index>(fitting, 1));
}

/// The supervised tokens in order, after a check of every target.
inline Tensor<std::int32_t> supervised_rows(const Tape& tape, const Tensor<std::int32_t>& target, Index V) {
    Index n = 0;
    for (Index t = 0; t < target.extent(0); ++t) {
        const std::int32_t id = target.data()[t];
        if (id != kIgnoreTarget && (id < 0 || id >= V)) {
            throw Error{ErrorCode::data, "linear_cross_entropy",
                        format("targets in [0, {}) or {}", V, kIgnoreTarget),
                        format("target {} at position {}", id, t)};
        }
        n += id != kIgnoreTarget;
    }
    auto row = tape.make<std::int32_t>({n});
    Index next = 0;
    for (Index t = 0; t < target.extent(0); ++t) {
        if (target.data()[t] != kIgnoreTarget) row.data()[next++] = static_cast<std::int32_t>(t);
    }
    return row;
}

/// x [T, D], w [V, D], target [T] -> nll [T]. Its upstream gradient is per token (ops/seed.hpp).
template <class Real>
Var<Wide<Real>> linear_cross_entropy(Tape& tape, const Var<Real>& x, const Weight<Real>& w,
                                     const Tensor<std::int32_t>& target) {
    if (x.shape().rank() != 2 || w.shape().rank() != 2 || x.extent(1) != w.extent(1) || w.extent(0) < 1 ||
        !(target.shape() == Shape{x.extent(0)})) {
        throw Error{
            ErrorCode::shape, "linear_cross_entropy", "x [T, D], w [V, D] with V > 0 and target [T]",
            format("x {}, w {}, target {}", x.shape().text(), w.shape().text(), target.shape().text())};
    }
    const auto& kernels = linear_cross_entropy_slot.get<Real>(tape.device());
    const Tensor<std::int32_t> row = supervised_rows(tape, target, w.extent(0));
    const Index n = row.extent(0);
    const Shape piece{cross_entropy_rows(n, w.extent(0)), w.extent(0)};
    auto nll = tape.output<Wide<Real>>({x.extent(0)}, x.needs_gradient() || w.needs_gradient());
    const bool keep = nll.needs_gradient() && x.needs_gradient();
    const auto xhat = keep ? tape.make<Real>({n, x.extent(1)}) : Tensor<Real>();
    kernels.forward(tape.stream(), x.template view<2>(), w.template view<2>(), target.view<1>(),
                    row.view<1>(), tape.make<Wide<Real>>(piece).template view<2>(),
                    nll.value().template view<1>(), keep ? xhat.template view<2>() : View<Real, 2>());
    if (!nll.needs_gradient()) return nll;
    tape.record(nll.gradient(),
                [&kernels, stream = tape.stream(), row, target, piece, xhat, w, into = x.gradient(),
                 kept_x = w.needs_gradient() ? x.value() : Tensor<Real>(), dy = nll.gradient()] {
                    const View<const Wide<Real>, 1> d = dy->tensor().template view<1>();
                    if (into) {
                        auto dx = into->target();
                        kernels.backward_input(stream, row.view<1>(), d, xhat.template view<2>(),
                                               dx.tensor.template view<2>(), dx.write);
                    }
                    if (w.needs_gradient()) {
                        const auto logits = stream.context().template make<Wide<Real>>(piece);
                        auto dw = w.gradient()->target();
                        kernels.backward_weight(stream, kept_x.template view<2>(), w.template view<2>(),
                                                target.view<1>(), row.view<1>(), d, logits.template view<2>(),
                                                dw.tensor.template view<2>(), dw.write);
                    }
                });
    return nll;
}

}  // namespace moegrad
