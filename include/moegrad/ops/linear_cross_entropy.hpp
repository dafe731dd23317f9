#pragma once
// linear_cross_entropy: the last Linear and its loss in one; the logits z = x w^T exist for a few rows only.
//     nll[t] = log sum_v exp z[t,v] - z[t,target[t]]          0 for unsupervised tokens (target = -100)
// backward, d = gradient of nll, p = softmax(z), e = one-hot of the target:
//     dx[t] = d[t] (p[t] - e[t]) w,     dw = sum over supervised t in order of d[t] (p[t] - e[t])^T x[t]
// Forward already makes xhat = (p - e) w while the logits are there; dw computes them once more.
// On the CPU the bits do not depend on how many rows share a piece. A logit of +infinity or NaN gives a NaN loss,
// which the step then reports.
// Saved: xhat [n, D], row [n] (the n supervised tokens), target [T]; with a trainable w also x [T, D].
// A target on a GPU comes with its list of supervised tokens, since the host does not read it; the list may be longer
// than they are, ending in -1, so that steps of one shape need not have one number of them.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/core/transfer.hpp>

#include <algorithm>

namespace moegrad {

template <class Real>
struct LinearCrossEntropyKernels {
    /// nll [T], all written; xhat [n, D], or empty when nobody needs it. row: the supervised tokens in order.
    /// logits [piece, V] and gathered [piece, D]: room; the latter is empty where xhat is not.
    void (*forward)(Stream, View<const Real, 2> x, View<const Real, 2> w, View<const std::int32_t, 1> target,
                    View<const std::int32_t, 1> row, View<Wide<Real>, 2> logits, View<Real, 2> gathered,
                    View<Wide<Real>, 1> nll, View<Real, 2> xhat);
    void (*backward_input)(Stream, View<const std::int32_t, 1> row, View<const Wide<Real>, 1> d,
                           View<const Real, 2> xhat, View<Real, 2> dx, Write);
    void (*backward_weight)(Stream, View<const Real, 2> x, View<const Real, 2> w,
                            View<const std::int32_t, 1> target, View<const std::int32_t, 1> row,
                            View<const Wide<Real>, 1> d, View<Wide<Real>, 2> logits, View<Real, 2> gathered,
                            View<Wide<Real>, 2> dw, Write);
};

inline constinit KernelSlot<LinearCrossEntropyKernels> linear_cross_entropy_slot{"linear_cross_entropy"};

/// Rows of logits held at once, whatever the vocabulary: about 2^21 values on the CPU; on a GPU enough for its products to
/// be large, and at most 2^28 values.
inline Index cross_entropy_rows(Index n, Index V, Device device = Device::cpu) {
    const Index fitting = (Index{1} << (device == Device::cuda ? 28 : 21)) / std::max<Index>(V, 1);
    const Index wanted = device == Device::cuda ? 2048 : n;
    return std::min({n, wanted, std::max<Index>(fitting, 1)});
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
    auto row =
        tape.device() == Device::cuda ? Tensor<std::int32_t>::zeros({n}) : tape.make<std::int32_t>({n});
    Index next = 0;
    for (Index t = 0; t < target.extent(0); ++t) {
        if (target.data()[t] != kIgnoreTarget) row.data()[next++] = static_cast<std::int32_t>(t);
    }
    return row;
}

namespace detail {

/// What the backward of linear_cross_entropy holds.
template <class Real>
struct LinearCrossEntropyBackward {
    Stream stream;
    Tensor<std::int32_t> row, target;
    Shape piece;           // of the logits
    Tensor<Real> xhat, x;  // each only when the gradient that it makes is needed
    Weight<Real> w;
    std::shared_ptr<Gradient<Real>> dx;
    std::shared_ptr<Gradient<Wide<Real>>> dy;

    void operator()() const {
        const auto& kernels = linear_cross_entropy_slot.get<Real>(stream.device());
        const View<const Wide<Real>, 1> d = dy->tensor().template view<1>();
        if (dx) {
            auto into = dx->target();
            kernels.backward_input(stream, row.view<1>(), d, xhat.template view<2>(),
                                   into.tensor.template view<2>(), into.write);
        }
        if (!w.needs_gradient()) return;
        const auto logits = stream.context().template make<Wide<Real>>(piece);
        const auto gathered = stream.context().template make<Real>({piece[0], w.extent(1)});
        auto dw = w.gradient()->target();
        kernels.backward_weight(stream, x.template view<2>(), w.template view<2>(), target.view<1>(),
                                row.view<1>(), d, logits.template view<2>(), gathered.template view<2>(),
                                dw.tensor.template view<2>(), dw.write);
    }
};

template <class Real>
void check_linear_cross_entropy(const Tape& tape, const Var<Real>& x, const Weight<Real>& w,
                                const Tensor<std::int32_t>& target, const Tensor<std::int32_t>& row) {
    if (x.shape().rank() != 2 || w.shape().rank() != 2 || x.extent(1) != w.extent(1) || w.extent(0) < 1 ||
        !(target.shape() == Shape{x.extent(0)})) {
        throw Error{
            ErrorCode::shape, "linear_cross_entropy", "x [T, D], w [V, D] with V > 0 and target [T]",
            format("x {}, w {}, target {}", x.shape().text(), w.shape().text(), target.shape().text())};
    }
    if (target.on_host()) return;
    if (tape.device() != Device::cuda || row.on_host() || row.shape().rank() != 1) {
        throw Error{ErrorCode::state, "linear_cross_entropy",
                    "with a target on a GPU, its supervised tokens as a list there",
                    row.defined() ? "a list " + row.shape().text() + " elsewhere" : "no list",
                    "make the list where the batch is made, or give the target on the host"};
    }
}

}  // namespace detail

/// x [T, D], w [V, D], target [T] -> nll [T]. Its upstream gradient is per token (ops/seed.hpp).
/// supervised: the list that a target on a GPU needs; without it a target on the host is checked and listed here.
template <class Real>
Var<Wide<Real>> linear_cross_entropy(Tape& tape, const Var<Real>& x, const Weight<Real>& w,
                                     const Tensor<std::int32_t>& target,
                                     const Tensor<std::int32_t>& supervised = {}) {
    detail::check_linear_cross_entropy(tape, x, w, target, supervised);
    // A plan for a GPU has its lists on the host.
    const bool listed = supervised.defined() && tape.context().target() == Device::cuda;
    const Tensor<std::int32_t> row = listed
                                         ? placed(supervised, tape.device())
                                         : placed(supervised_rows(tape, target, w.extent(0)), tape.device());
    const Tensor<std::int32_t> there = placed(target, tape.device());
    const Index n = row.extent(0), D = x.extent(1);
    const Shape piece{cross_entropy_rows(n, w.extent(0), tape.context().target()), w.extent(0)};
    auto nll = tape.output<Wide<Real>>({x.extent(0)}, x.needs_gradient() || w.needs_gradient());
    const bool keep = nll.needs_gradient() && x.needs_gradient();
    const auto xhat = keep ? tape.make<Real>({n, D}) : Tensor<Real>();
    {
        const auto gathered = keep ? Tensor<Real>() : tape.make<Real>({piece[0], D});
        linear_cross_entropy_slot.get<Real>(tape.device())
            .forward(tape.stream(), x.template view<2>(), w.template view<2>(), there.view<1>(),
                     row.view<1>(), tape.make<Wide<Real>>(piece).template view<2>(),
                     keep ? View<Real, 2>() : gathered.template view<2>(), nll.value().template view<1>(),
                     keep ? xhat.template view<2>() : View<Real, 2>());
    }
    if (nll.needs_gradient()) {
        tape.record(nll.gradient(),
                    detail::LinearCrossEntropyBackward<Real>{tape.stream(), row, there, piece, xhat,
                                                             w.needs_gradient() ? x.value() : Tensor<Real>(),
                                                             w, x.gradient(), nll.gradient()});
    }
    return nll;
}

}  // namespace moegrad
