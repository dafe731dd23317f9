#pragma once
// soft_balance_loss: C sum_c F_c P_c, a balance loss whose load is differentiable, per sequence or micro-batch.
//     n   = valid tokens of the sequence (micro-batch)
//     P_c = sum of p[t,c] over valid tokens / n          F_c = sum of w[t,c] over valid tokens / n
// p: probabilities; w: those of the chosen columns, 0 elsewhere. Where balance_loss counts slots, here the load is their mass.
// backward:   dp[t,c] = dL C F_c / n,   dw[t,c] = dL C P_c / n for valid tokens, 0 for padding
// Without a valid token L = 0. Sums in double over the valid tokens in order; on a GPU over chunks of kBalanceChunk tokens
// of a group, then over its chunks.
// Saved: C F / n, C P / n [S, C].        DynMoLE's implementation (there all layers in one pool).

#include <moegrad/ops/balance_loss.hpp>

namespace moegrad {

template <class Real>
struct SoftBalanceLossKernels {
    /// begin [S + 1] as in Segments; micro scope: one group of all tokens. by_p = C F / n, by_w = C P / n [S, C].
    /// room [balance_chunks, 2 C + 1]: for a GPU's partial sums. Backward is that of balance_loss.
    void (*forward)(Stream, View<const Real, 2> p, View<const Real, 2> w, View<const std::int32_t, 1> begin,
                    View<const std::uint8_t, 1> valid, View<Real, 1> loss, View<Real, 2> by_p,
                    View<Real, 2> by_w, View<double, 2> room, BalanceOptions::Scope);
};

inline constinit KernelSlot<SoftBalanceLossKernels> soft_balance_loss_slot{"soft_balance_loss"};

/// p, w [T, C] -> [S], one value per segment (Scope::sequence), or [1] (Scope::micro).
template <class Real>
Var<Real> soft_balance_loss(Tape& tape, const Var<Real>& p, const Var<Real>& w, const Segments& segments,
                            BalanceOptions::Scope scope) {
    if (p.shape().rank() != 2 || !(p.shape() == w.shape()) || p.extent(0) != segments.tokens()) {
        throw Error{
            ErrorCode::shape, "soft_balance_loss", "p and w [T, C] and segments of T tokens",
            format("p {}, w {}, segments of {}", p.shape().text(), w.shape().text(), segments.tokens())};
    }
    const Index C = p.extent(1);
    const Index groups = scope == BalanceOptions::Scope::sequence ? segments.count() : 1;
    auto loss = tape.output<Real>({groups}, p.needs_gradient() || w.needs_gradient());
    const auto by_p = tape.make<Real>({groups, C}), by_w = tape.make<Real>({groups, C});
    const auto room = tape.make<double>({balance_chunks(p.extent(0), groups), 2 * C + 1});
    soft_balance_loss_slot.get<Real>(tape.device())
        .forward(tape.stream(), p.template view<2>(), w.template view<2>(), segments.begin.view<1>(),
                 segments.valid.view<1>(), loss.value().template view<1>(), by_p.template view<2>(),
                 by_w.template view<2>(), room.template view<2>(), scope);
    if (!loss.needs_gradient()) return loss;
    const auto& kernels = balance_loss_slot.get<Real>(tape.device());
    tape.record(loss.gradient(), [&kernels, stream = tape.stream(), by_p, by_w, segment = segments.segment,
                                  valid = segments.valid, options = BalanceOptions{.scope = scope},
                                  into_p = p.gradient(), into_w = w.gradient(), dloss = loss.gradient()] {
        for (const auto& [into, slope] : {std::pair{into_p, by_p}, std::pair{into_w, by_w}}) {
            if (!into) continue;
            auto d = into->target();
            kernels.backward(stream, slope.template view<2>(), segment.template view<1>(),
                             valid.template view<1>(), dloss->tensor().template view<1>(),
                             d.tensor.template view<2>(), d.write, options);
        }
    });
    return loss;
}

}  // namespace moegrad
