#pragma once
// molora_joint: molora_linear and a product of its router in one reading of x, where nothing is dropped.
//     [u | z] = x [s A; g]^T                u [T, E R]: of every expert;  z [T, C] in the wide type, g [C, D] of the router
//     y[t] = x[t] w^T + v[t] B^T            v[t, e R + r] = u[t, e R + r] times the weights of the slots that chose e
// Between z and the weights stands the router, so backward is cut in two: that of y, which keeps dy, and that of z:
//     q = dy B,   dweight[t,k] = <q_e, u_e>,   du = s weight q, 0 where not chosen,   dB = dy^T v
//     dx = dy w + [du | dz] [A; g],   [dA; dg] = [du | dz]^T x
// A bf16 model has g and z in float and multiplies bf16 pieces of them as wide_linear does: what one product gives there
// it gives here, beside u.
// u is made of every expert, so few ranks pay: share_input says where. All weights must be finite.
// Saved: u [T, E R], expert and weight [T, K]; x [T, D] when A, g or w learns; from y's backward to z's dy [T, O].

#include <moegrad/ops/molora_linear.hpp>
#include <moegrad/ops/rank_slices.hpp>
#include <moegrad/ops/wide_linear.hpp>

namespace moegrad {

/// What meets x, as ranks side by side: those of the experts, Q = E R, and the pieces of the router's columns, P each; both
/// rounded up to 16 bytes of bf16. In bf16 the gradient of ranks is [dz0 | du | dz0 | dz1 | dz2], of which all but the last P meet
/// [g1; A; g0; g0] and all but the first x (cuda/wide_linear.cuh); else [du | dz].
template <class Real>
struct JointRanks {
    static constexpr Index kPieces = std::is_same_v<Real, Wide<Real>> ? 1 : 3;
    Index experts, router;  // Q, P

    JointRanks(Index ranks, Index columns)
        : experts(detail::piece_columns(ranks)), router(detail::piece_columns(columns)) {}
    Index lead() const { return kPieces == 1 ? 0 : router; }
    Index reading() const { return experts + kPieces * router; }
};

/// Room for what lies between inputs and results. A CPU has no use for stack, sum and bounds.
template <class Real>
struct MoloraJointRoom {
    View<Real, 2> stack;           // [Q + 3 P, D]   what meets x, or the ranks' gradient
    View<Wide<Real>, 2> sum;       // [T, Q + 3 P] in forward, [Q + 3 P, D] in backward
    View<Real, 2> masked;          // [T, Q]
    View<Wide<Real>, 2> up;        // [O, Q]         B of all experts side by side, or dB
    View<Wide<Real>, 2> dense;     // [T, Q]         q
    View<Wide<Real>, 1> parts;     // group_rank_parts, or empty: dy is read twice
    View<std::int32_t, 1> bounds;  // [2]
};

/// Who was chosen, [T, K] each.
template <class Real>
struct MoloraChoice {
    View<const std::int32_t, 2> expert;
    View<const Wide<Real>, 2> weight;
};

/// What x meets: A [E, R, D], router [C, D].
template <class Real>
struct JointFactors {
    View<const Real, 3> A;
    View<const Wide<Real>, 2> router;
};

/// Where the gradients of one reading go; empty: nobody needs it.
template <class Real>
struct JointTargets {
    View<Real, 2> dx;
    View<Wide<Real>, 3> dA;
    View<Wide<Real>, 2> router;
    Write write_x, write_A, write_router;
};

/// Where the gradients of what stands between u and y go; empty: nobody needs it. du [T, Q], there with every dweight [T, K].
template <class Real>
struct JointRankTargets {
    View<Real, 2> du;
    View<Wide<Real>, 3> dB;
    View<Wide<Real>, 2> dweight;
    Write write_B, write_weight;
};

template <class Real>
struct MoloraJointKernels {
    /// u [T, Q], 0 beyond E R; z [T, C]
    void (*read)(Stream, View<const Real, 2> x, const JointFactors<Real>&, double scale,
                 const MoloraJointRoom<Real>&, View<Real, 2> u, View<Wide<Real>, 2> z);
    /// An expert beyond E or chosen twice by a token is an error.
    void (*forward)(Stream, View<const Real, 2> x, View<const Real, 2> w, View<const Real, 3> B,
                    View<const Real, 2> u, const MoloraChoice<Real>&, const MoloraJointRoom<Real>&,
                    View<Real, 2> y);
    void (*backward_ranks)(Stream, View<const Real, 2> dy, View<const Real, 3> B, double scale,
                           View<const Real, 2> u, const MoloraChoice<Real>&, const MoloraJointRoom<Real>&,
                           const JointRankTargets<Real>&);
    /// The rest. dz may be empty: nobody looked at z.
    void (*backward)(Stream, View<const Real, 2> x, const JointFactors<Real>&, View<const Real, 2> dy,
                     View<const Real, 2> w, View<const Wide<Real>, 2> dz, View<Real, 2> ranks,
                     const MoloraJointRoom<Real>&, const JointTargets<Real>&);
};

inline constinit KernelSlot<MoloraJointKernels> molora_joint_slot{"molora_joint"};

namespace detail {

/// The memory of a MoloraJointRoom, as far as its device uses it.
template <class Real>
struct MoloraJointMemory {
    Tensor<Real> stack, masked;
    Tensor<Wide<Real>> sum, up, dense, parts;
    Tensor<std::int32_t> bounds;

    MoloraJointRoom<Real> room() const {
        return {view_or_none<2>(stack), view_or_none<2>(sum),   view_or_none<2>(masked), view_or_none<2>(up),
                view_or_none<2>(dense), view_or_none<1>(parts), view_or_none<1>(bounds)};
    }
};

/// One reading of x, while one of its two users lives.
template <class Real>
struct MoloraReading {
    Stream stream;
    Weight<Real> A;
    Var<Wide<Real>> router;
    double scale;
    Index T, D;
    Tensor<Real> x, u;  // x only when A or the router's weight learns
    std::shared_ptr<Gradient<Wide<Real>>> dz = {};
    std::shared_ptr<Gradient<Real>> dx = {};
    // What the backward of y leaves to that of z.
    Tensor<Real> dy = {}, ranks = {};
    Matrix<Real> w = {};

    JointRanks<Real> columns() const { return {A.extent(0) * A.extent(1), router.extent(0)}; }
    JointFactors<Real> factors() const { return {A.template view<3>(), router.template view<2>()}; }
    bool on_gpu() const { return stream.context().target() == Device::cuda; }
    bool learns() const { return dx || A.needs_gradient() || router.needs_gradient(); }
    const MoloraJointKernels<Real>& kernels() const { return molora_joint_slot.get<Real>(stream.device()); }

    void read(const Tensor<Real>& input, const Tensor<Wide<Real>>& z) const {
        MoloraJointMemory<Real> memory;
        if (on_gpu()) {
            memory.stack = stream.context().template make<Real>({columns().reading(), D});
            memory.sum = stream.context().template make<Wide<Real>>({T, columns().reading()});
        }
        kernels().read(stream, input.template view<2>(), factors(), scale, memory.room(),
                       u.template view<2>(), z.template view<2>());
    }

    void backward() {
        const bool asked = dz && dz->written();
        if (dy.defined())
            backward_both(asked ? dz->tensor().template view<2>() : View<Wide<Real>, 2>());
        else if (asked)
            backward_router();
        dy = ranks = x = u = {};
        w = {};
    }

private:
    void backward_both(View<const Wide<Real>, 2> dz_view) const {
        Context& context = stream.context();
        MoloraJointMemory<Real> memory;
        if (on_gpu()) {
            const Index rows = columns().reading();
            if (A.needs_gradient() || router.needs_gradient())
                memory.sum = context.template make<Wide<Real>>({rows, D});
            if (dx) memory.stack = context.template make<Real>({rows, D});
            memory.bounds = context.template make<std::int32_t>({2});
        }
        const bool has_router = router.needs_gradient() && dz_view.data != nullptr;
        const auto to_x = dx ? dx->target() : GradientTarget<Real>();
        const auto to_A = A.needs_gradient() ? A.gradient()->target() : GradientTarget<Wide<Real>>();
        const auto to_router = has_router ? router.gradient()->target() : GradientTarget<Wide<Real>>();
        kernels().backward(stream, view_or_none<2>(x), factors(), dy.template view<2>(),
                           w.dense(context).template view<2>(), dz_view, ranks.template view<2>(),
                           memory.room(),
                           {view_or_none<2>(to_x.tensor), view_or_none<3>(to_A.tensor),
                            view_or_none<2>(to_router.tensor), to_x.write, to_A.write, to_router.write});
    }

    /// Nobody asked for y: a product of the router alone.
    void backward_router() const {
        if constexpr (!std::is_same_v<Real, Wide<Real>>) {
            WideLinearBackward<Real>{stream, x, router, 1, dz, dx}();
        } else {
            const auto& product = linear_slot.get<Real>(stream.device());
            const View<const Real, 2> dz_view = dz->tensor().template view<2>();
            if (router.needs_gradient()) {
                const auto to = router.gradient()->target();
                product.backward_weight(stream, x.template view<2>(), dz_view, to.tensor.template view<2>(),
                                        to.write);
            }
            if (dx) {
                const auto to = dx->target();
                product.backward_input(stream, router.template view<2>(), dz_view,
                                       to.tensor.template view<2>(), to.write);
            }
        }
    }
};

/// What the backward of y holds.
template <class Real>
struct MoloraJointBackward {
    std::shared_ptr<MoloraReading<Real>> reading;
    Tensor<std::int32_t> expert;
    Var<Wide<Real>> weight;
    Weight<Real> B;
    Matrix<Real> w;
    Tensor<Real> x;  // only when w learns
    std::shared_ptr<Gradient<Real>> dy;

    MoloraChoice<Real> choice() const { return {expert.view<2>(), weight.template view<2>()}; }

    MoloraJointMemory<Real> memory() const {
        Context& context = reading->stream.context();
        MoloraJointMemory<Real> memory;
        memory.masked = context.template make<Real>(reading->u.shape());
        memory.up = context.template make<Wide<Real>>({B.extent(1), reading->u.extent(1)});
        if (reading->on_gpu()) memory.bounds = context.template make<std::int32_t>({2});
        return memory;
    }

    void operator()() const {
        const Stream stream = reading->stream;
        const View<const Real, 2> dy_view = dy->tensor().template view<2>();
        if (w.needs_gradient()) {
            const auto dw = w.gradient()->target();
            const auto& base = linear_slot.get<Real>(stream.device());
            base.backward_weight(stream, x.template view<2>(), dy_view, dw.tensor.template view<2>(),
                                 dw.write);
        }
        const bool needed = reading->learns() || weight.needs_gradient(), learns = B.needs_gradient();
        if (!needed && !learns) return;
        auto room = memory();
        const JointRanks<Real> columns = reading->columns();
        const Index T = reading->T, Q = columns.experts;
        Tensor<Real> ranks;
        View<Real, 2> du;
        if (needed) {
            ranks = stream.context().template make<Real>({T, columns.lead() + columns.reading()});
            du = {ranks.data() + columns.lead(), {T, Q}, ranks.columns()};
            room.dense = stream.context().template make<Wide<Real>>({T, Q});
            if (learns) room.parts = group_rank_parts<Real>(stream.context(), T, B.extent(1), Q);
        }
        const auto dB = learns ? B.gradient()->target() : GradientTarget<Wide<Real>>();
        const auto dweight =
            weight.needs_gradient() ? weight.gradient()->target() : GradientTarget<Wide<Real>>();
        reading->kernels().backward_ranks(
            stream, dy_view, B.template view<3>(), reading->scale, reading->u.template view<2>(), choice(),
            room.room(),
            {du, view_or_none<3>(dB.tensor), view_or_none<2>(dweight.tensor), dB.write, dweight.write});
        if (!reading->learns()) return;
        reading->dy = dy->tensor();
        reading->ranks = ranks;
        reading->w = w;
    }
};

}  // namespace detail

template <class Real>
struct JointReading {
    Var<Wide<Real>> z;  // [T, C]
    std::shared_ptr<detail::MoloraReading<Real>> shared;
};

/// x [T, D], A [E, R, D], router [C, D] -> z, and u for molora_joint on the same tape.
template <class Real>
JointReading<Real> read_joint(Tape& tape, const Var<Real>& x, const Weight<Real>& A,
                              const std::type_identity_t<Var<Wide<Real>>>& router, double scale) {
    detail::check_wide_linear(x, router);
    const Index T = x.extent(0);
    const bool keeps_x = A.needs_gradient() || router.needs_gradient();
    auto shared = std::make_shared<detail::MoloraReading<Real>>(detail::MoloraReading<Real>{
        tape.stream(), A, router, scale, T, x.extent(1), keeps_x ? x.value() : Tensor<Real>(), {}});
    shared->u = tape.make<Real>({T, shared->columns().experts});
    auto z = tape.output<Wide<Real>>({T, router.extent(0)}, x.needs_gradient() || router.needs_gradient());
    shared->dz = z.gradient();
    shared->dx = x.gradient();
    shared->read(x.value(), z.value());
    if (shared->learns()) tape.record([shared] { shared->backward(); });
    return {std::move(z), std::move(shared)};
}

/// x, w [O, D], B [E, O, R], expert [T, K] in [0, E) or negative (none), weight [T, K] -> [T, O], of the x and A that
/// were read. A token chooses an expert at most once.
template <class Real>
Var<Real> molora_joint(Tape& tape, const JointReading<Real>& reading, const Var<Real>& x,
                       const std::type_identity_t<Matrix<Real>>& w, const Weight<Real>& B,
                       const Tensor<std::int32_t>& expert, const Var<Wide<Real>>& weight) {
    const auto& shared = reading.shared;
    detail::check_molora_linear(x, w, {shared->A, B, shared->scale}, expert, weight);
    auto y = tape.output<Real>({x.extent(0), w.extent(0)}, shared->learns() || w.needs_gradient() ||
                                                               B.needs_gradient() || weight.needs_gradient());
    detail::MoloraJointBackward<Real> call{
        shared, expert, weight, B, w, w.needs_gradient() ? x.value() : Tensor<Real>(), y.gradient()};
    shared->kernels().forward(tape.stream(), x.template view<2>(), w.dense(tape.context()).template view<2>(),
                              B.template view<3>(), shared->u.template view<2>(), call.choice(),
                              call.memory().room(), y.value().template view<2>());
    if (y.needs_gradient()) tape.record(y.gradient(), std::move(call));
    return y;
}

}  // namespace moegrad
