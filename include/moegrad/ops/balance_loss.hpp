#pragma once
// balance_loss: C sum_c f_c P_c over the C columns of a router (true experts, then nulls), per sequence or
// micro-batch.
//     n   = valid tokens of the sequence (micro-batch)
//     f_c = slots of valid tokens on column c / n            (Counts::slots; sum_c f_c = K; AdaMoE Eq. 4)
//           the same / (n K)                                 (Counts::share; sums to 1)
//     f_c of a null column = mean of f over the null columns (Nulls::averaged; AdaMoE Eq. 6)
//     P_c = sum of p[t,c] over valid tokens / n              (AdaMoE Eq. 5)
// Counts are constants: dp[t,c] = dL C f_c / n for valid tokens, 0 for padding. Without a valid token L = 0.
// A uniform router gives K (slots) or 1 (share). Sums run over the valid tokens in order; on a GPU over chunks of
// kBalanceChunk tokens of a group, then over its chunks.
// Saved: C f / n [S, C].       Fedus et al. 2021 (Switch); Zeng et al. 2024 (AdaMoE), Eq. 3 to 6.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

struct BalanceOptions {
    enum class Scope {
        sequence,
        micro
    };  // sequence: does not depend on how a step is cut into micro-batches
    enum class Counts { slots, share };
    enum class Nulls { separate, averaged };

    Scope scope = Scope::sequence;
    Counts counts = Counts::slots;
    Nulls nulls = Nulls::separate;
    Index true_experts = 0;  // columns from here on are nulls; read with Nulls::averaged only
};

/// Tokens of a group that are summed together.
inline constexpr Index kBalanceChunk = 128;

/// No more chunks than this has a batch of T tokens in S groups, wherever they are cut.
inline Index balance_chunks(Index T, Index S) {
    return T / kBalanceChunk + S;
}

template <class Real>
struct BalanceLossKernels {
    /// begin [S + 1] as in Segments; micro scope: one group of all tokens. slope = C f / n.
    /// room [balance_chunks, 2 C + 1]: for a GPU's partial sums.
    void (*forward)(Stream, View<const Real, 2> p, View<const std::int32_t, 2> choice,
                    View<const std::int32_t, 1> begin, View<const std::uint8_t, 1> valid, View<Real, 1> loss,
                    View<Real, 2> slope, View<double, 2> room, BalanceOptions);
    void (*backward)(Stream, View<const Real, 2> slope, View<const std::int32_t, 1> segment,
                     View<const std::uint8_t, 1> valid, View<const Real, 1> dloss, View<Real, 2> dp, Write,
                     BalanceOptions);
};

inline constinit KernelSlot<BalanceLossKernels> balance_loss_slot{"balance_loss"};

namespace detail {

template <class Real>
void check_balance_loss(const Var<Real>& p, const Tensor<std::int32_t>& choice, const Segments& segments,
                        const BalanceOptions& options) {
    if (p.shape().rank() != 2 || choice.shape().rank() != 2 || p.extent(0) != choice.extent(0) ||
        p.extent(0) != segments.tokens()) {
        throw Error{ErrorCode::shape, "balance_loss", "p [T, C], choice [T, K] and segments of T tokens",
                    format("p {}, choice {}, segments of {}", p.shape().text(), choice.shape().text(),
                           segments.tokens())};
    }
    const bool averaged = options.nulls == BalanceOptions::Nulls::averaged;
    if (averaged && (options.true_experts < 0 || options.true_experts > p.extent(1))) {
        throw Error{ErrorCode::value, "balance_loss", format("true_experts in [0, {}]", p.extent(1)),
                    format("{}", options.true_experts)};
    }
}

}  // namespace detail

/// p [T, C] probabilities before the choice, choice [T, K] columns of p (negative: unused slot).
/// Result: [S], one value per segment (Scope::sequence), or [1] (Scope::micro).
template <class Real>
Var<Real> balance_loss(Tape& tape, const Var<Real>& p, const Tensor<std::int32_t>& choice,
                       const Segments& segments, const BalanceOptions& options) {
    detail::check_balance_loss(p, choice, segments, options);
    const auto& kernels = balance_loss_slot.get<Real>(tape.device());
    const Index groups = options.scope == BalanceOptions::Scope::sequence ? segments.count() : 1;
    auto loss = tape.output<Real>({groups}, p.needs_gradient());
    auto slope = tape.make<Real>({groups, p.extent(1)});
    const auto room = tape.make<double>({balance_chunks(p.extent(0), groups), 2 * p.extent(1) + 1});
    kernels.forward(tape.stream(), p.template view<2>(), choice.view<2>(), segments.begin.view<1>(),
                    segments.valid.view<1>(), loss.value().template view<1>(), slope.template view<2>(),
                    room.template view<2>(), options);
    if (!loss.needs_gradient()) return loss;
    tape.record(loss.gradient(),
                [&kernels, stream = tape.stream(), slope, segment = segments.segment, valid = segments.valid,
                 options, gradient = p.gradient(), dloss = loss.gradient()] {
                    auto dp = gradient->target();
                    kernels.backward(stream, slope.template view<2>(), segment.template view<1>(),
                                     valid.template view<1>(), dloss->tensor().template view<1>(),
                                     dp.tensor.template view<2>(), dp.write, options);
                });
    return loss;
}

}  // namespace moegrad
