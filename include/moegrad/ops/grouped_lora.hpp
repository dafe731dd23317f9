#pragma once
// grouped_lora: experts that are a low-rank pair and nothing else, over ragged rows.
//     y[n] = (base[src(n)] +)  s drop_e(x[src(n)]) A[e]^T B[e]^T,   n a row of expert e
//     src(n) as in ops/grouped_linear.hpp, for base as for x
// `base` is what all experts share: computed once per token, gathered here (W1 x and W3 x of MixLoRA).
// backward:   dbase[t] = the sum of dy over the token's slots, or dy itself without a gather,   du = s dy B,
//             dB[e] = sum_n dy[n]^T u[n],   dA[e] = sum_n du[n]^T drop_e(x[src(n)]),   dx = mask(du A), with a gather
//             summed over the token's slots
// Orders of sums, rows from N on, experts without rows: as in grouped_linear, whose kernels these are.
// bf16: base is copied, y rounded once; drop(x), u, du, mask(du A) and its sum over slots once each.
// Saved: the plan; x where A learns; u [N, R].

#include <moegrad/ops/grouped_linear.hpp>

namespace moegrad {

namespace detail {

template <class Real>
void check_grouped_lora(const Var<Real>& base, const Var<Real>& x, const DispatchPlan& plan, RowSource source,
                        const LoraStack<Real>& lora) {
    const Index rows = source == RowSource::tokens ? plan.tokens : plan.bound;
    const Shape &a = lora.A.shape(), &b = lora.B.shape();
    const bool stacks =
        a.rank() == 3 && b.rank() == 3 && a[0] == plan.experts && b[0] == a[0] && b[2] == a[1];
    if (stacks && x.shape() == Shape{rows, a[2]} && (!base.defined() || base.shape() == Shape{rows, b[1]})) {
        return;
    }
    throw Error{ErrorCode::shape, "grouped_lora",
                format("x [{}, D], A [{}, R, D], B [{}, O, R], and base [{}, O] if any", rows, plan.experts,
                       plan.experts, rows),
                format("x {}, A {}, B {}, base {}", x.shape().text(), a.text(), b.text(),
                       base.defined() ? base.shape().text() : "none")};
}

/// One call: what its forward leaves for its backward.
template <class Real>
struct GroupedLora {
    GroupedLinear<Real> low;  // without a dense weight
    std::shared_ptr<Gradient<Real>> base_gradient = {};

    void forward(const Tensor<Real>& base, const Tensor<Real>& input, const Tensor<Real>& y) {
        low.rank(input);
        if (base.defined()) copy(base, low.source, y, Write::overwrite);
        low.kernels->multiply(low.stream, low.u.template view<2>(), low.B.template view<3>(), {},
                              DispatchView(low.plan), RowSource::rows, y.template view<2>(),
                              base.defined() ? Write::accumulate : Write::overwrite);
    }

    void backward(const Tensor<Real>& dy) const {
        if (base_gradient) {
            auto dbase = base_gradient->target();
            if (low.source == RowSource::rows) {
                copy(dy, RowSource::rows, dbase.tensor, dbase.write);
            } else {
                add_slots(dy, dbase);
            }
        }
        const Tensor<Real> du = low.rank_gradient(dy, low.input_gradient != nullptr);
        low.write_weights(dy, low.x, du);
        if (low.input_gradient) write_input(du);
    }

private:
    void copy(const Tensor<Real>& from, RowSource source, const Tensor<Real>& to, Write write) const {
        low.kernels->drop(low.stream, from.template view<2>(), DispatchView(low.plan), source, {}, {},
                          to.template view<2>(), write);
    }
    void add_slots(const Tensor<Real>& rows, const GradientTarget<Real>& into) const {
        low.kernels->sum_slots(low.stream, rows.template view<2>(), DispatchView(low.plan),
                               into.tensor.template view<2>(), into.write);
    }
    /// to[n] (+)= du A
    void product(const Tensor<Real>& du, const Tensor<Real>& to, Write write) const {
        low.kernels->multiply_back(low.stream, du.template view<2>(), low.A.template view<3>(), {},
                                   DispatchView(low.plan), to.template view<2>(), write);
    }
    void mask(const Tensor<Real>& from, const Tensor<Real>& to, Write write) const {
        low.kernels->drop(low.stream, from.template view<2>(), DispatchView(low.plan), RowSource::rows,
                          token_keys(low.dropout, low.segments), low.dropout, to.template view<2>(), write);
    }

    void write_input(const Tensor<Real>& du) const {
        auto dx = low.input_gradient->target();
        const bool direct = low.source == RowSource::rows;
        if (direct && !low.masked()) return product(du, dx.tensor, dx.write);
        const auto rows = low.stream.context().template make<Real>({low.plan.bound, low.A.extent(2)});
        product(du, rows, Write::overwrite);
        if (direct) return mask(rows, dx.tensor, dx.write);
        if (low.masked()) mask(rows, rows, Write::overwrite);
        add_slots(rows, dx);
    }
};

}  // namespace detail

/// x [T, D] (tokens) or [T K, D] (rows), A [E, R, D], B [E, O, R], base [T, O] or [T K, O], or not defined
/// -> [T K, O], of which the first N rows are written. The segments are read where the dropout is active.
template <class Real>
Var<Real> grouped_lora(Tape& tape, const std::type_identity_t<Var<Real>>& base, const Var<Real>& x,
                       const DispatchPlan& plan, RowSource source, const LoraStack<Real>& lora,
                       const Segments& segments) {
    detail::check_grouped_lora(base, x, plan, source, lora);
    const Dropout dropout = active_dropout(tape, lora.dropout, segments, plan.tokens);
    detail::GroupedLora<Real> call{{&grouped_linear_slot.get<Real>(tape.device()),
                                    tape.stream(),
                                    plan,
                                    source,
                                    segments,
                                    dropout,
                                    {},
                                    lora.A,
                                    lora.B,
                                    lora.scale}};
    auto y = tape.output<Real>({plan.bound, lora.B.extent(1)},
                               base.needs_gradient() || x.needs_gradient() || call.low.learns());
    call.forward(base.value(), x.value(), y.value());
    if (!y.needs_gradient()) return y;
    if (call.low.reads_input()) call.low.x = x.value();
    call.low.input_gradient = x.gradient();
    call.base_gradient = base.gradient();
    tape.record(y.gradient(), [call = std::move(call), dy = y.gradient()] { call.backward(dy->tensor()); });
    return y;
}

}  // namespace moegrad
