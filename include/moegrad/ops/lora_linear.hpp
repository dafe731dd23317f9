#pragma once
// lora_linear: a Linear with a low-rank adapter.   y = x w^T + u B^T,   u = s drop(x) A^T
// Each y[t,o] is one chain: over d of x w, continued over r of u B. With B = 0 it is linear(x, w): on the CPU
// to the bit, on a GPU to rounding.
// backward:   du = s dy B,   dx = dy w + mask(du A),   dA = du^T drop(x),   dB = dy^T u,   dw = dy^T x
// drop(x) is made again in backward. dA, dB, dw: one chain over the rows, starting from what they hold.
// Saved: u [T, R], and x [T, D] when A or w needs a gradient.        Hu et al. 2021, eq. 3.

#include <moegrad/ops/dropout.hpp>
#include <moegrad/ops/linear.hpp>
#include <moegrad/ops/rank_slices.hpp>

namespace moegrad {

/// One adapter: A [R, D], B [O, R]; or a stack of E of them: A [E, R, D], B [E, O, R].
template <class Real>
struct LoraWeights {
    Weight<Real> A, B;
    double scale = 1;  // alpha / R, or alpha / sqrt(R)
    Dropout dropout = {};
};

/// How a kernel drops its input: nothing happens at rate 0, else drop(x) is made in `room` [T, D].
template <class Real>
struct DroppedInput {
    Dropout dropout;
    TokenKeys keys;
    View<Real, 2> room;
};

/// bounds [2]: room for the list {0, T}, by which a GPU's grouped product takes all rows as one group.
template <class Real>
struct LoraLinearKernels {
    void (*forward)(Stream, View<const Real, 2> x, View<const Real, 2> w, View<const Real, 2> A,
                    View<const Real, 2> B, double scale, DroppedInput<Real>, View<std::int32_t, 1> bounds,
                    View<Real, 2> u, View<Real, 2> y);
    /// du = s dy B
    void (*backward_rank)(Stream, View<const Real, 2> dy, View<const Real, 2> B, double scale,
                          View<Real, 2> du);
    /// The same and dB (+)= dy^T u; parts: group_rank_parts, or empty
    void (*backward_ranks)(Stream, View<const Real, 2> dy, View<const Real, 2> B, View<const Real, 2> u,
                           double scale, View<Wide<Real>, 1> parts, View<Real, 2> du, View<Wide<Real>, 2> dB,
                           Write);
    void (*backward_input)(Stream, View<const Real, 2> dy, View<const Real, 2> w, View<const Real, 2> du,
                           View<const Real, 2> A, DroppedInput<Real>, View<std::int32_t, 1> bounds,
                           View<Real, 2> dx, Write);
    void (*backward_down)(Stream, View<const Real, 2> x, View<const Real, 2> du, DroppedInput<Real>,
                          View<Wide<Real>, 2> dA, Write);
};

inline constinit KernelSlot<LoraLinearKernels> lora_linear_slot{"lora_linear"};

namespace detail {

template <class Real>
void check_lora_linear(const Var<Real>& x, const Matrix<Real>& w, const LoraWeights<Real>& lora) {
    const Shape &X = x.shape(), &W = w.shape(), &A = lora.A.shape(), &B = lora.B.shape();
    if (X.rank() != 2 || W.rank() != 2 || A.rank() != 2 || B.rank() != 2 || W[1] != X[1] || A[1] != X[1] ||
        B[0] != W[0] || B[1] != A[0]) {
        throw Error{ErrorCode::shape, "lora_linear", "x [T, D], w [O, D], A [R, D] and B [O, R]",
                    format("x {}, w {}, A {}, B {}", X.text(), W.text(), A.text(), B.text())};
    }
}

/// What the backward of lora_linear holds.
template <class Real>
struct LoraLinearBackward {
    Stream stream;
    Tensor<Real> x, u;  // x only when A or w needs a gradient
    Matrix<Real> w;
    LoraWeights<Real> lora;  // its dropout is the active one
    Segments segments;
    std::shared_ptr<Gradient<Real>> dy, dx;

    void operator()() const {
        const auto& kernels = lora_linear_slot.get<Real>(stream.device());
        const auto& base = linear_slot.get<Real>(stream.device());
        const View<const Real, 2> dy_view = dy->tensor().template view<2>();
        if (w.needs_gradient()) {
            auto dw = w.gradient()->target();
            base.backward_weight(stream, x.template view<2>(), dy_view, dw.tensor.template view<2>(),
                                 dw.write);
        }
        const Tensor<Real> du = rank_gradient(kernels, base, dy_view);
        if (!du.defined()) return;
        const Tensor<Real> room =
            lora.dropout.rate > 0 ? stream.context().template make<Real>(input_shape()) : Tensor<Real>();
        const DroppedInput<Real> dropped{lora.dropout, token_keys(lora.dropout, segments),
                                         room.defined() ? room.template view<2>() : View<Real, 2>()};
        if (lora.A.needs_gradient()) {
            auto dA = lora.A.gradient()->target();
            kernels.backward_down(stream, x.template view<2>(), du.template view<2>(), dropped,
                                  dA.tensor.template view<2>(), dA.write);
        }
        if (dx) {
            auto target = dx->target();
            const Tensor<std::int32_t> bounds = stream.context().template make<std::int32_t>({2});
            kernels.backward_input(stream, dy_view, w.dense(stream.context()).template view<2>(),
                                   du.template view<2>(), lora.A.template view<2>(), dropped,
                                   bounds.view<1>(), target.tensor.template view<2>(), target.write);
        }
    }

private:
    Shape input_shape() const { return {u.extent(0), w.extent(1)}; }

    /// du, where A or the input needs it, and dB, where B learns.
    Tensor<Real> rank_gradient(const LoraLinearKernels<Real>& kernels, const LinearKernels<Real>& base,
                               View<const Real, 2> dy_view) const {
        const bool learns = lora.B.needs_gradient(), needed = dx || lora.A.needs_gradient();
        const auto from = u.template view<2>();
        if (learns && !needed) {
            auto dB = lora.B.gradient()->target();
            base.backward_weight(stream, from, dy_view, dB.tensor.template view<2>(), dB.write);
        }
        if (!needed) return {};
        const auto du = stream.context().template make<Real>(u.shape());
        const auto B = lora.B.template view<2>();
        if (!learns) {
            kernels.backward_rank(stream, dy_view, B, lora.scale, du.template view<2>());
            return du;
        }
        const auto parts = group_rank_parts<Real>(stream.context(), u.extent(0), B.extent(0), u.extent(1));
        auto dB = lora.B.gradient()->target();
        kernels.backward_ranks(stream, dy_view, B, from, lora.scale, view_or_none<1>(parts),
                               du.template view<2>(), dB.tensor.template view<2>(), dB.write);
        return du;
    }
};

}  // namespace detail

/// x [T, D], w [O, D] -> [T, O]. Frozen weights (plain Vars) cost no gradient product.
template <class Real>
Var<Real> lora_linear(Tape& tape, const Var<Real>& x, const std::type_identity_t<Matrix<Real>>& w,
                      const LoraWeights<Real>& lora, const Segments& segments) {
    detail::check_lora_linear(x, w, lora);
    const Dropout active = active_dropout(tape, lora.dropout, segments, x.extent(0));
    const bool needs_x = lora.A.needs_gradient() || w.needs_gradient();
    auto y = tape.output<Real>({x.extent(0), w.extent(0)},
                               needs_x || lora.B.needs_gradient() || x.needs_gradient());
    const auto u = tape.make<Real>({x.extent(0), lora.A.extent(0)});
    {
        const auto room = active.rate > 0 ? tape.make<Real>(x.shape()) : Tensor<Real>();
        const Tensor<std::int32_t> bounds = tape.make<std::int32_t>({2});
        lora_linear_slot.get<Real>(tape.device())
            .forward(tape.stream(), x.template view<2>(), w.dense(tape.context()).template view<2>(),
                     lora.A.template view<2>(), lora.B.template view<2>(), lora.scale,
                     {active, token_keys(active, segments),
                      room.defined() ? room.template view<2>() : View<Real, 2>()},
                     bounds.view<1>(), u.template view<2>(), y.value().template view<2>());
    }
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), detail::LoraLinearBackward<Real>{tape.stream(),
                                                               needs_x ? x.value() : Tensor<Real>(),
                                                               u,
                                                               w,
                                                               {lora.A, lora.B, lora.scale, active},
                                                               active.rate > 0 ? segments : Segments(),
                                                               y.gradient(),
                                                               x.gradient()});
    return y;
}

}  // namespace moegrad
