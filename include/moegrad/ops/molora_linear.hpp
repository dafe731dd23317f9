#pragma once
// molora_linear: one shared Linear with E low-rank adapters, of which each token uses those its router chose.
//     y[t] = x[t] w^T + sum over the chosen e, ascending, of weight[t,k] u[t,k] B_e^T,    e = expert[t,k]
//     u[t,k] = s drop_e(x[t]) A_e^T                          (the expert enters the key of the mask)
// Each y[t,o] is one chain: over d of x w, continued over r for each chosen expert. With E = 1 and weight 1
// it is lora_linear, on the CPU to the bit, on a GPU to rounding. Only chosen pairs (t, k) are computed; negative
// experts cost nothing. A GPU multiplies the (small) weights of all experts with rows that are 0 where an expert was
// not chosen: all weights must be finite.
// backward:   q = dy[t] B_e,   dweight[t,k] = <q, u>,   du = s weight q,
//     dB_e = sum_t dy[t]^T weight u,   dA_e = sum_t du^T drop_e(x[t]),
//     dx[t] = dy[t] w + sum_e mask_e(du A_e),   e ascending
// Sums over t: one chain per element over the tokens of the expert in order, starting from what they hold.
// Saved: u [T K, R], the sorted pairs 3 [T K] and [E + 1], expert and weight [T, K]; x [T, D] when A or w learns.

#include <moegrad/ops/dispatch.hpp>
#include <moegrad/ops/lora_linear.hpp>

namespace moegrad {

/// The chosen pairs (t, k) by expert, then by token. Pairs of expert e: begin(e) .. begin(e + 1) - 1.
struct ExpertPairs {
    View<const std::int32_t, 1> begin;   // [E + 1]
    View<const std::int32_t, 1> pair;    // [T K]   t K + k; meaningless from begin(E) on
    View<const std::int32_t, 1> token;   // [T K]   t
    View<const std::int32_t, 2> place;   // [T, K]  where (t, k) lies among the pairs; -1 where it is none
    View<const std::int32_t, 2> expert;  // [T, K]
};

/// Room for what lies between inputs and results.
template <class Real>
struct MoloraRoom {
    View<Real, 2>
        input;  // CPU: [T, D], rows of one expert; GPU: [T K, D], of all pairs, only where the input is dropped
    View<Real, 2> rank, output;     // CPU: [T, R], [T, O], rows of one expert; the last for forward only
    View<Real, 2> masked;           // GPU: [T, E R]
    View<Wide<Real>, 2> dense, up;  // GPU: [T, E R], [O, E R]
    View<std::int32_t, 1> bounds;   // GPU: [2]
};

template <class Real>
struct MoloraLinearKernels {
    /// Fills the pairs; an expert beyond E or chosen twice by a token is an error.
    void (*sort)(Stream, View<const std::int32_t, 2> expert, View<std::int32_t, 1> begin,
                 View<std::int32_t, 1> pair, View<std::int32_t, 1> token, View<std::int32_t, 2> place,
                 View<std::int32_t, 1> room);
    /// u [T K, R] in the order of the pairs.
    void (*forward)(Stream, View<const Real, 2> x, View<const Real, 2> w, View<const Real, 3> A,
                    View<const Real, 3> B, double scale, const ExpertPairs&, View<const Wide<Real>, 2> weight,
                    Dropout, TokenKeys, const MoloraRoom<Real>&, View<Real, 2> u, View<Real, 2> y);
    /// du [T K, R] in the order of the pairs; dweight [T, K], or empty when nobody needs it.
    void (*backward_rank)(Stream, View<const Real, 2> dy, View<const Real, 3> B, double scale,
                          const ExpertPairs&, View<const Wide<Real>, 2> weight, View<const Real, 2> u,
                          const MoloraRoom<Real>&, View<Real, 2> du, View<Wide<Real>, 2> dweight, Write);
    void (*backward_up)(Stream, View<const Real, 2> dy, const ExpertPairs&, View<const Wide<Real>, 2> weight,
                        View<const Real, 2> u, const MoloraRoom<Real>&, View<Wide<Real>, 3> dB, Write);
    void (*backward_down)(Stream, View<const Real, 2> x, View<const Real, 2> du, const ExpertPairs&, Dropout,
                          TokenKeys, const MoloraRoom<Real>&, View<Wide<Real>, 3> dA, Write);
    void (*backward_input)(Stream, View<const Real, 2> dy, View<const Real, 2> w, View<const Real, 2> du,
                           View<const Real, 3> A, const ExpertPairs&, Dropout, TokenKeys,
                           const MoloraRoom<Real>&, View<Real, 2> dx, Write);
};

inline constinit KernelSlot<MoloraLinearKernels> molora_linear_slot{"molora_linear"};

namespace detail {

template <class Real>
void check_molora_linear(const Var<Real>& x, const Matrix<Real>& w, const LoraWeights<Real>& experts,
                         const Tensor<std::int32_t>& expert, const Var<Wide<Real>>& weight) {
    const Shape &X = x.shape(), &W = w.shape(), &A = experts.A.shape(), &B = experts.B.shape();
    if (X.rank() != 2 || W.rank() != 2 || A.rank() != 3 || B.rank() != 3 || expert.shape().rank() != 2 ||
        W[1] != X[1] || A[2] != X[1] || B[0] != A[0] || B[1] != W[0] || B[2] != A[1] ||
        expert.extent(0) != X[0] || !(expert.shape() == weight.shape())) {
        throw Error{ErrorCode::shape, "molora_linear",
                    "x [T, D], w [O, D], A [E, R, D], B [E, O, R], expert [T, K] and weight [T, K]",
                    format("x {}, w {}, A {}, B {}, expert {}, weight {}", X.text(), W.text(), A.text(),
                           B.text(), expert.shape().text(), weight.shape().text())};
    }
}

/// The memory of a MoloraRoom, as far as its device uses it.
template <class Real>
struct MoloraMemory {
    Tensor<Real> input, rank, output, masked;
    Tensor<Wide<Real>> dense, up;
    Tensor<std::int32_t> bounds;

    void make_input(Context& context, Index T, Index K, Index D, bool drops) {
        const bool gpu = context.target() == Device::cuda;
        if (!gpu || drops) input = context.template make<Real>({gpu ? T * K : T, D});
    }
    void make_rank(Context& context, Index T, Index E, Index R, Index O) {
        if (context.target() != Device::cuda) {
            rank = context.template make<Real>({T, R});
            return;
        }
        masked = context.template make<Real>({T, E * R});
        up = context.template make<Wide<Real>>({O, E * R});
        bounds = context.template make<std::int32_t>({2});
    }

    MoloraRoom<Real> room() const {
        const auto view = [](const auto& t) {
            return t.defined() ? t.template view<2>() : decltype(t.template view<2>())();
        };
        return {view(input),
                view(rank),
                view(output),
                view(masked),
                view(dense),
                view(up),
                bounds.defined() ? bounds.template view<1>() : View<std::int32_t, 1>()};
    }
};

/// What the backward of molora_linear holds; in forward it also owns the pairs.
template <class Real>
struct MoloraLinearState {
    Stream stream;
    Tensor<std::int32_t> begin, pair, token, place, expert;
    Tensor<Real> x, u;  // x only when A or w needs a gradient
    Matrix<Real> w;
    LoraWeights<Real> experts;  // its dropout is the active one
    Var<Wide<Real>> weight;
    Segments segments;
    std::shared_ptr<Gradient<Real>> dy, dx;

    ExpertPairs pairs() const {
        return {begin.view<1>(), pair.view<1>(), token.view<1>(), place.view<2>(), expert.view<2>()};
    }
    TokenKeys keys() const { return token_keys(experts.dropout, segments); }
    const MoloraLinearKernels<Real>& kernels() const { return molora_linear_slot.get<Real>(stream.device()); }

    void sort() const {
        const Tensor<std::int32_t> room = sort_room(stream.context(), expert.size(), experts.A.extent(0));
        kernels().sort(stream, expert.view<2>(), begin.view<1>(), pair.view<1>(), token.view<1>(),
                       place.view<2>(), room.view<1>());
    }

    void forward(const Tensor<Real>& input, const Tensor<Real>& y) const {
        Context& context = stream.context();
        const Index T = weight.extent(0), E = experts.A.extent(0), R = experts.A.extent(1), O = w.extent(0);
        MoloraMemory<Real> memory;
        memory.make_input(context, T, weight.extent(1), w.extent(1), experts.dropout.rate > 0);
        memory.make_rank(context, T, E, R, O);
        if (context.target() != Device::cuda) memory.output = context.template make<Real>({T, O});
        kernels().forward(stream, input.template view<2>(), w.dense(context).template view<2>(),
                          experts.A.template view<3>(), experts.B.template view<3>(), experts.scale, pairs(),
                          weight.template view<2>(), experts.dropout, keys(), memory.room(),
                          u.template view<2>(), y.template view<2>());
    }

    void operator()() const {
        const View<const Real, 2> dy_view = dy->tensor().template view<2>();
        if (w.needs_gradient()) {
            auto dw = w.gradient()->target();
            linear_slot.get<Real>(stream.device())
                .backward_weight(stream, x.template view<2>(), dy_view, dw.tensor.template view<2>(),
                                 dw.write);
        }
        MoloraMemory<Real> memory;
        memory.make_rank(stream.context(), weight.extent(0), experts.A.extent(0), u.extent(1), w.extent(0));
        if (experts.B.needs_gradient()) {
            auto dB = experts.B.gradient()->target();
            kernels().backward_up(stream, dy_view, pairs(), weight.template view<2>(), u.template view<2>(),
                                  memory.room(), dB.tensor.template view<3>(), dB.write);
        }
        if (dx || experts.A.needs_gradient() || weight.needs_gradient()) backward_input_side(dy_view, memory);
    }

private:
    /// -> du, and the gradient of the weights of the experts.
    Tensor<Real> backward_rank(View<const Real, 2> dy_view, MoloraMemory<Real>& memory) const {
        Context& context = stream.context();
        const auto du = context.template make<Real>(u.shape());
        auto dweight = weight.needs_gradient() ? weight.gradient()->target()
                                               : GradientTarget<Wide<Real>>{{}, Write::overwrite};
        if (context.target() == Device::cuda)
            memory.dense = context.template make<Wide<Real>>(memory.masked.shape());
        kernels().backward_rank(
            stream, dy_view, experts.B.template view<3>(), experts.scale, pairs(), weight.template view<2>(),
            u.template view<2>(), memory.room(), du.template view<2>(),
            dweight.tensor.defined() ? dweight.tensor.template view<2>() : View<Wide<Real>, 2>(),
            dweight.write);
        memory.dense = {};
        return du;
    }

    void backward_input_side(View<const Real, 2> dy_view, MoloraMemory<Real>& memory) const {
        const Tensor<Real> du = backward_rank(dy_view, memory);
        if (!dx && !experts.A.needs_gradient()) return;
        memory.make_input(stream.context(), weight.extent(0), weight.extent(1), w.extent(1),
                          experts.dropout.rate > 0);
        if (experts.A.needs_gradient()) {
            auto dA = experts.A.gradient()->target();
            kernels().backward_down(stream, x.template view<2>(), du.template view<2>(), pairs(),
                                    experts.dropout, keys(), memory.room(), dA.tensor.template view<3>(),
                                    dA.write);
        }
        if (dx) {
            auto target = dx->target();
            kernels().backward_input(stream, dy_view, w.dense(stream.context()).template view<2>(),
                                     du.template view<2>(), experts.A.template view<3>(), pairs(),
                                     experts.dropout, keys(), memory.room(), target.tensor.template view<2>(),
                                     target.write);
        }
    }
};

}  // namespace detail

/// x [T, D], w [O, D], experts: A [E, R, D], B [E, O, R]; expert [T, K] in [0, E) or negative (none),
/// weight [T, K] -> [T, O]. A token chooses an expert at most once.
template <class Real>
Var<Real> molora_linear(Tape& tape, const Var<Real>& x, const std::type_identity_t<Matrix<Real>>& w,
                        const LoraWeights<Real>& experts, const Tensor<std::int32_t>& expert,
                        const Var<Wide<Real>>& weight, const Segments& segments) {
    detail::check_molora_linear(x, w, experts, expert, weight);
    const Index T = x.extent(0), R = experts.A.extent(1), pairs = expert.size();
    const Dropout active = active_dropout(tape, experts.dropout, segments, T);
    const bool needs_x = experts.A.needs_gradient() || w.needs_gradient();
    auto y = tape.output<Real>({T, w.extent(0)}, needs_x || experts.B.needs_gradient() ||
                                                     weight.needs_gradient() || x.needs_gradient());
    detail::MoloraLinearState<Real> state{tape.stream(),
                                          tape.make<std::int32_t>({experts.A.extent(0) + 1}),
                                          tape.make<std::int32_t>({pairs}),
                                          tape.make<std::int32_t>({pairs}),
                                          tape.make<std::int32_t>(expert.shape()),
                                          expert,
                                          needs_x ? x.value() : Tensor<Real>(),
                                          tape.make<Real>({pairs, R}),
                                          w,
                                          {experts.A, experts.B, experts.scale, active},
                                          weight,
                                          active.rate > 0 ? segments : Segments(),
                                          y.gradient(),
                                          x.gradient()};
    state.sort();
    state.forward(x.value(), y.value());
    if (y.needs_gradient()) tape.record(y.gradient(), std::move(state));
    return y;
}

}  // namespace moegrad
