#pragma once
// grouped_linear: the Linear of many experts over ragged rows, each expert with LoRA of its own if wanted.
//     y[n] = x[src(n)] w[e]^T  (+ u[n] B[e]^T),   u[n] = s drop_e(x[src(n)]) A[e]^T,   n a row of expert e
//     src(n) = row_token[n] when x has one row per token (gather on load), n when x is routed already
// An element of y is one chain over D, then over R: with B = 0 the bits are those without LoRA. It depends on
// its own row and expert alone.
// backward:   dw[e] = sum_n dy[n]^T x[src(n)],   dB[e] = sum_n dy[n]^T u[n],
//             du = s dy B,   dA[e] = sum_n du[n]^T drop_e(x[src(n)]),
//             dx = dy w + mask(du A), and with a gather dx[t] = the sum over the token's slots in order
// Weight gradients are one chain over the rows of an expert in (token, slot) order; an expert without rows
// gets exact zeros where the gradient is overwritten. Rows from N on are neither read nor written.
// Saved: the plan; x where w or A learns; u [N, R]. drop(x) is computed again, and so are the numbers of a w in NF4.
// Hu et al. 2021 (LoRA).

#include <type_traits>

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/ops/dispatch.hpp>
#include <moegrad/ops/dropout.hpp>
#include <moegrad/ops/lora_linear.hpp>
#include <moegrad/ops/rank_slices.hpp>

namespace moegrad {

/// What the rows of an input are.
enum class RowSource { tokens, rows };

/// A second pair of factors that continues the contraction of the first: u [N, R] with B [E, O, R] in y, or du with
/// A [E, R, D] in dx. Empty: none.
template <class Real>
struct LowRank {
    View<const Real, 2> u;
    View<const Real, 3> weight;
};

/// LoRA of each expert over its weight [E, O, D]: A [E, R, D], B [E, O, R]. The expert enters the dropout's
/// key.
template <class Real>
using LoraStack = LoraWeights<Real>;

template <class Real>
struct GroupedLinearKernels {
    /// y[n] (+)= x[src(n)] w[e]^T + u[n] B[e]^T
    void (*multiply)(Stream, View<const Real, 2> x, View<const Real, 3> w, LowRank<Real>, DispatchView,
                     RowSource, View<Real, 2> y, Write);
    /// dx[n] (+)= dy[n] w[e] + du[n] A[e]
    void (*multiply_back)(Stream, View<const Real, 2> dy, View<const Real, 3> w, LowRank<Real>, DispatchView,
                          View<Real, 2> dx, Write);
    /// u[n] = factor x[src(n)] A[e]^T
    void (*project)(Stream, View<const Real, 2> x, View<const Real, 3> A, DispatchView, RowSource,
                    double factor, View<Real, 2> u);
    /// du[n] = factor dy[n] B[e]
    void (*project_back)(Stream, View<const Real, 2> dy, View<const Real, 3> B, DispatchView, double factor,
                         View<Real, 2> du);
    /// du[n] = factor dy[n] B[e] and dB[e] (+)= sum_n dy[n]^T u[n]; parts: rank_parts, of one group group_rank_parts; or empty
    void (*rank_gradients)(Stream, View<const Real, 2> dy, View<const Real, 3> B, View<const Real, 2> u,
                           DispatchView, double factor, View<Wide<Real>, 1> parts, View<Real, 2> du,
                           View<Wide<Real>, 3> dB, Write);
    /// dw[e] (+)= sum_n dy[n]^T x[src(n)]
    void (*weight_gradient)(Stream, View<const Real, 2> dy, View<const Real, 2> x, DispatchView, RowSource,
                            View<Wide<Real>, 3> dw, Write);
    /// y[n] (+)= mask_e(x[src(n)]); at rate 0 a copy, which reads no keys
    void (*drop)(Stream, View<const Real, 2> x, DispatchView, RowSource, TokenKeys, Dropout, View<Real, 2> y,
                 Write);
    /// dx[t] (+)= sum_k rows[slot_row[t,k]]
    void (*sum_slots)(Stream, View<const Real, 2> rows, DispatchView, View<Real, 2> dx, Write);
};

inline constinit KernelSlot<GroupedLinearKernels> grouped_linear_slot{"grouped_linear"};

namespace detail {

template <class Real>
void check_grouped_linear(const Shape& x, const Matrix<Real>& w, const DispatchPlan& plan, RowSource source,
                          const LoraStack<Real>* lora) {
    const Index rows = source == RowSource::tokens ? plan.tokens : plan.bound;
    if (x.rank() != 2 || w.shape().rank() != 3 || x[0] != rows || w.extent(0) != plan.experts ||
        x[1] != w.extent(2)) {
        throw Error{ErrorCode::shape, "grouped_linear",
                    format("x [{}, D] and w [{}, O, D]", rows, plan.experts),
                    format("x {}, w {}", x.text(), w.shape().text())};
    }
    if (lora == nullptr) return;
    const Shape &a = lora->A.shape(), &b = lora->B.shape();
    if (a.rank() != 3 || b.rank() != 3 || !(a == Shape{w.extent(0), a[1], w.extent(2)}) ||
        !(b == Shape{w.extent(0), w.extent(1), a[1]})) {
        throw Error{ErrorCode::shape, "grouped_linear",
                    "A [E, R, D] and B [E, O, R] for w " + w.shape().text(),
                    format("A {}, B {}", a.text(), b.text())};
    }
}

/// One call: what its forward leaves for its backward.
template <class Real>
struct GroupedLinear {
    const GroupedLinearKernels<Real>* kernels;
    Stream stream;
    DispatchPlan plan;
    RowSource source;
    Segments segments;
    Dropout dropout;    // as active in this call
    Matrix<Real> w;     // [E, O, D]
    Weight<Real> A, B;  // undefined without LoRA
    double scale = 1;
    Tensor<Real> x = {};  // kept only where a weight gradient reads it
    Tensor<Real> u = {};  // [N, R]
    std::shared_ptr<Gradient<Real>> input_gradient = {};

    /// Whether backward reads the input again, and whether any weight learns.
    bool reads_input() const { return w.needs_gradient() || A.needs_gradient(); }
    bool learns() const { return reads_input() || B.needs_gradient(); }
    /// The numbers of w; of NF4 in step memory, to be held for one kernel.
    Tensor<Real> dense() const { return w.dense(stream.context()); }

    /// drop(x) as rows, or x itself without dropout: `from` says which.
    Tensor<Real> dropped(const Tensor<Real>& input, RowSource& from) const {
        from = source;
        if (dropout.rate == 0) return input;
        auto rows = stream.context().template make<Real>({plan.bound, input.extent(1)});
        kernels->drop(stream, input.template view<2>(), DispatchView(plan), source,
                      token_keys(dropout, segments), dropout, rows.template view<2>(), Write::overwrite);
        from = RowSource::rows;
        return rows;
    }

    /// y[n] of all rows; keeps u.
    void forward(const Tensor<Real>& input, const Tensor<Real>& y) {
        rank(input);
        kernels->multiply(stream, input.template view<2>(), dense().template view<3>(), low_rank(),
                          DispatchView(plan), source, y.template view<2>(), Write::overwrite);
    }

    /// u = s drop(x) A^T
    void rank(const Tensor<Real>& input) {
        if (!A.defined()) return;
        RowSource from;
        const Tensor<Real> rows = dropped(input, from);
        u = stream.context().template make<Real>({plan.bound, A.extent(1)});
        kernels->project(stream, rows.template view<2>(), A.template view<3>(), DispatchView(plan), from,
                         scale, u.template view<2>());
    }
    LowRank<Real> low_rank() const {
        return A.defined() ? LowRank<Real>{u.template view<2>(), B.template view<3>()} : LowRank<Real>{};
    }

    /// Whether a mask lies between du A and dx; without one it continues the contraction.
    bool masked() const { return A.defined() && dropout.rate > 0; }
    LowRank<Real> low_rank_back(const Tensor<Real>& du) const {
        return A.defined() && !masked() ? LowRank<Real>{du.template view<2>(), A.template view<3>()}
                                        : LowRank<Real>{};
    }

    /// du = s dy B, where A or the input needs it, and dB, where B learns.
    Tensor<Real> rank_gradient(const Tensor<Real>& dy, bool input_needs) const {
        if (!A.defined()) return {};
        if (!A.needs_gradient() && !input_needs) {
            if (B.needs_gradient()) write_weight(dy, u, RowSource::rows, B.gradient());
            return {};
        }
        auto du = stream.context().template make<Real>({plan.bound, A.extent(1)});
        const auto from = dy.template view<2>();
        const auto factor = B.template view<3>();
        if (!B.needs_gradient()) {
            kernels->project_back(stream, from, factor, DispatchView(plan), scale, du.template view<2>());
            return du;
        }
        const Index O = B.extent(1), R = B.extent(2);
        const auto parts = plan.row_token.defined()
                               ? rank_parts<Real>(stream.context(), plan.bound, plan.experts, O, R)
                               : group_rank_parts<Real>(stream.context(), plan.bound, O, R);
        auto dB = B.gradient()->target();
        kernels->rank_gradients(stream, from, factor, u.template view<2>(), DispatchView(plan), scale,
                                view_or_none<1>(parts), du.template view<2>(), dB.tensor.template view<3>(),
                                dB.write);
        return du;
    }

    /// dw and dA, where they are wanted; input: what forward got.
    void write_weights(const Tensor<Real>& dy, const Tensor<Real>& input, const Tensor<Real>& du) const {
        if (w.needs_gradient()) write_weight(dy, input, source, w.gradient());
        if (A.needs_gradient()) {
            RowSource from;
            const Tensor<Real> rows = dropped(input, from);
            write_weight(du, rows, from, A.gradient());
        }
    }

    /// dx[n] (+)= dy w + mask(du A) of all rows
    void write_rows(const Tensor<Real>& dy, const Tensor<Real>& du, View<Real, 2> dx, Write write) const {
        const DispatchView view(plan);
        kernels->multiply_back(stream, dy.template view<2>(), dense().template view<3>(), low_rank_back(du),
                               view, dx, write);
        if (!masked()) return;
        auto through = stream.context().template make<Real>({plan.bound, w.extent(2)});
        kernels->multiply_back(stream, du.template view<2>(), A.template view<3>(), {}, view,
                               through.template view<2>(), Write::overwrite);
        kernels->drop(stream, through.template view<2>(), view, RowSource::rows,
                      token_keys(dropout, segments), dropout, dx, Write::accumulate);
    }

    void backward(const Tensor<Real>& dy) const {
        const Tensor<Real> du = rank_gradient(dy, input_gradient != nullptr);
        write_weights(dy, x, du);
        if (input_gradient) write_input(dy, du);
    }

private:
    void write_weight(const Tensor<Real>& rows, const Tensor<Real>& input, RowSource from,
                      const std::shared_ptr<Gradient<Wide<Real>>>& gradient) const {
        auto target = gradient->target();
        kernels->weight_gradient(stream, rows.template view<2>(), input.template view<2>(),
                                 DispatchView(plan), from, target.tensor.template view<3>(), target.write);
    }

    void write_input(const Tensor<Real>& dy, const Tensor<Real>& du) const {
        auto dx = input_gradient->target();
        const bool direct = source == RowSource::rows;
        const auto rows =
            direct ? dx.tensor : stream.context().template make<Real>({plan.bound, w.extent(2)});
        write_rows(dy, du, rows.template view<2>(), direct ? dx.write : Write::overwrite);
        if (!direct) {
            kernels->sum_slots(stream, rows.template view<2>(), DispatchView(plan),
                               dx.tensor.template view<2>(), dx.write);
        }
    }
};

/// `lora` may be null.
template <class Real>
GroupedLinear<Real> grouped_linear_call(Tape& tape, const Shape& x, const Matrix<Real>& w,
                                        const DispatchPlan& plan, RowSource source,
                                        const LoraStack<Real>* lora, const Segments& segments) {
    check_grouped_linear(x, w, plan, source, lora);
    const Dropout dropout = lora ? active_dropout(tape, lora->dropout, segments, plan.tokens) : Dropout{};
    if (!plan.row_token.defined() && (dropout.rate > 0 || source == RowSource::tokens))
        throw Error{ErrorCode::unsupported, "grouped_linear", "rows without dropout for one_group",
                    dropout.rate > 0 ? "dropout" : "tokens", "dispatch gives a plan with its tokens"};
    GroupedLinear<Real> call{&grouped_linear_slot.get<Real>(tape.device()),
                             tape.stream(),
                             plan,
                             source,
                             segments,
                             dropout,
                             w,
                             {},
                             {}};
    if (lora != nullptr) {
        call.A = lora->A;
        call.B = lora->B;
        call.scale = lora->scale;
    }
    return call;
}

}  // namespace detail

/// x [T, D] (tokens) or [T K, D] (rows), w [E, O, D] -> [T K, O], of which the first N rows are written.
/// `lora` may be null; the segments are read where its dropout is active.
template <class Real>
Var<Real> grouped_linear(Tape& tape, const Var<Real>& x, const std::type_identity_t<Matrix<Real>>& w,
                         const DispatchPlan& plan, RowSource source, const LoraStack<Real>* lora = nullptr,
                         const Segments& segments = {}) {
    auto call = detail::grouped_linear_call(tape, x.shape(), w, plan, source, lora, segments);
    auto y = tape.output<Real>({plan.bound, w.extent(1)}, x.needs_gradient() || call.learns());
    call.forward(x.value(), y.value());
    if (!y.needs_gradient()) return y;
    if (call.reads_input()) call.x = x.value();
    call.input_gradient = x.gradient();
    tape.record(y.gradient(), [call = std::move(call), dy = y.gradient()] { call.backward(dy->tensor()); });
    return y;
}

/// y[n] = mask_e(x[n]) of routed rows, x [T K, D], e the expert of row n; x itself when the rate is 0 or nothing records.
template <class Real>
Var<Real> drop_rows(Tape& tape, const Var<Real>& x, const DispatchPlan& plan, const Segments& segments,
                    const Dropout& options) {
    const Dropout active = active_dropout(tape, options, segments, plan.tokens);
    if (active.rate == 0) return x;
    const auto apply = [kernels = &grouped_linear_slot.get<Real>(tape.device()), stream = tape.stream(), plan,
                        segments, active](const Tensor<Real>& from, const Tensor<Real>& to, Write write) {
        kernels->drop(stream, from.template view<2>(), DispatchView(plan), RowSource::rows,
                      token_keys(active, segments), active, to.template view<2>(), write);
    };
    auto y = tape.output<Real>(x.shape(), x.needs_gradient());
    apply(x.value(), y.value(), Write::overwrite);
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [apply, dy = y.gradient(), into = x.gradient()] {
        auto dx = into->target();
        apply(dy->tensor(), dx.tensor, dx.write);
    });
    return y;
}

}  // namespace moegrad
