#pragma once
// expert_swiglu: the SwiGLU feed-forward of many experts over routed rows, each Linear with LoRA of its own if wanted.
//     z[n] = up_e(x[src(n)]),   h[n] = silu(z[n, :F]) z[n, F:],   y[n] = down_e(h[n])      e: expert of row n
// src(n): its token, or n where x has a row for each; so one expert with all rows (one_group) is a dense feed-forward.
// up_e is grouped_linear with gate_up [E, 2F, D], the gate's rows above the up's, down_e with down [E, D, F]. On the
// CPU to the bit, on a GPU to rounding it is grouped_linear, swiglu_fused, grouped_linear; here z can become h, and dh become dz, where they are made.
// backward:   dh = the input's gradient of down_e,   dz = the gradient of h by z,   and grouped_linear's for the rest
// Rows from N on are neither read nor written.
// Saved: the plan; x where gate_up or its A learns; u [N, R] of both adapters; z [N, 2F], whose place dz takes. h is made
// again from z, the numbers of a stack in NF4 from it: one stack at a time.        Shazeer 2020, eq. 6.

#include <moegrad/ops/grouped_linear.hpp>
#include <moegrad/ops/swiglu.hpp>

namespace moegrad {

template <class Real>
struct ExpertSwigluKernels {
    /// z[n] = x[src(n)] w[e]^T + u[n] B[e]^T,  h[n] = silu(z[n, :F]) z[n, F:]
    void (*forward)(Stream, View<const Real, 2> x, View<const Real, 3> w, LowRank<Real>, DispatchView,
                    RowSource, View<Real, 2> z, View<Real, 2> h);
    /// dh[n] = dy[n] w[e] + du[n] A[e], of it dz; h again. dz takes the place of z.
    void (*backward)(Stream, View<const Real, 2> dy, View<const Real, 3> w, LowRank<Real>, DispatchView,
                     View<Real, 2> z, View<Real, 2> h);
    /// The same where h holds dh.
    void (*gradient)(Stream, DispatchView, View<Real, 2> z, View<Real, 2> h);
};

inline constinit KernelSlot<ExpertSwigluKernels> expert_swiglu_slot{"expert_swiglu"};

/// One stack of Linears and, where it is not null, its adapter.
template <class Real>
struct AdaptedStack {
    Matrix<Real> weight;
    const LoraStack<Real>* lora = nullptr;
};

namespace detail {

/// What the backward of expert_swiglu holds.
template <class Real>
struct ExpertSwiglu {
    const ExpertSwigluKernels<Real>* kernels;
    GroupedLinear<Real> up, down;
    Tensor<Real> z;  // [N, 2F]
    bool inner;      // whether anything before h needs a gradient

    void backward(const Tensor<Real>& dy) {
        down_backward(dy);
        if (inner) up.backward(z);
    }

private:
    /// Leaves dz in z. h and du go before the other half begins.
    void down_backward(const Tensor<Real>& dy) {
        const Stream stream = up.stream;
        const DispatchView plan(up.plan);
        const Tensor<Real> du = down.rank_gradient(dy, inner);
        const auto h = stream.context().template make<Real>({up.plan.bound, down.w.extent(2)});
        const View<Real, 2> h_view = h.template view<2>(), z_view = z.template view<2>();
        if (!inner) {
            const View<const Real, 2> gate{z_view.data, h_view.extents, z_view.pitch};
            const View<const Real, 2> above{z_view.data + h_view.columns(), h_view.extents, z_view.pitch};
            swiglu_slot.get<Real>(stream.device())
                .forward(stream, gate, above, h_view, plan.expert_begin.data + up.plan.experts);
        } else if (down.masked()) {
            down.write_rows(dy, du, h_view, Write::overwrite);
            kernels->gradient(stream, plan, z_view, h_view);
        } else {
            kernels->backward(stream, dy.template view<2>(), down.dense().template view<3>(),
                              down.low_rank_back(du), plan, z_view, h_view);
        }
        down.write_weights(dy, h, du);
    }
};

}  // namespace detail

/// x [T, D] (tokens) or [bound, D] (rows), gate_up [E, 2F, D], down [E, D, F] -> y [bound, D], of which the first N rows are
/// written.
template <class Real>
Var<Real> expert_swiglu(Tape& tape, const Var<Real>& x, const AdaptedStack<Real>& gate_up,
                        const AdaptedStack<Real>& down, const DispatchPlan& plan,
                        const Segments& segments = {}, RowSource source = RowSource::tokens) {
    const Shape &W = gate_up.weight.shape(), &V = down.weight.shape();
    if (W.rank() != 3 || V.rank() != 3 || W[1] != 2 * V[2]) {
        throw Error{ErrorCode::shape, "expert_swiglu", "gate_up [E, 2F, D] and down [E, D, F]",
                    format("gate_up {}, down {}", W.text(), V.text())};
    }
    const Shape hidden{plan.bound, V[2]};
    detail::ExpertSwiglu<Real> call{
        &expert_swiglu_slot.get<Real>(tape.device()),
        detail::grouped_linear_call(tape, x.shape(), gate_up.weight, plan, source, gate_up.lora, segments),
        detail::grouped_linear_call(tape, hidden, down.weight, plan, RowSource::rows, down.lora, segments),
        {},
        false};
    call.inner = x.needs_gradient() || call.up.learns();
    auto y = tape.output<Real>({plan.bound, V[1]}, call.inner || call.down.learns());
    {
        call.up.rank(x.value());
        call.z = tape.make<Real>({plan.bound, W[1]});
        const auto h = tape.make<Real>(hidden);
        call.kernels->forward(tape.stream(), x.template view<2>(), call.up.dense().template view<3>(),
                              call.up.low_rank(), DispatchView(plan), source, call.z.template view<2>(),
                              h.template view<2>());
        call.down.forward(h, y.value());
    }
    if (!y.needs_gradient()) return y;
    if (call.up.reads_input()) call.up.x = x.value();
    call.up.input_gradient = x.gradient();
    tape.record(y.gradient(),
                [call = std::move(call), dy = y.gradient()]() mutable { call.backward(dy->tensor()); });
    return y;
}

}  // namespace moegrad
