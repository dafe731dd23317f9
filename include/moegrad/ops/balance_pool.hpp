#pragma once
// balance_pool: one balance loss over the tokens of several routers, as if their rows lay in one batch.
//     n   = valid tokens x routers
//     f_c = slots of valid tokens on column c in all routers / n    (Counts::slots; Counts::share: / (n K))
//     P_c = sum of p[t,c] over valid tokens and routers / n
//     L   = C sum_c f_c P_c                                         nulls averaged as in balance_loss
// Counts are constants: dp[t,c] = dL C f_c / n for valid tokens of every router, 0 for padding. Without a valid token
// L = 0. Two routers that collapse on different experts look balanced here, which balance_loss per router would see.
// Saved: C f / n [1, C].       transformers' load_balancing_loss_func; AdaMoE's first experiment pools a layer.

#include <vector>

#include <moegrad/ops/balance_loss.hpp>

namespace moegrad {

/// One router's part.
template <class Real>
struct BalanceRows {
    Var<Real> p;                  // [T, C] probabilities before the choice
    Tensor<std::int32_t> choice;  // [T, K] columns of p, negative: unused slot

    bool defined() const { return p.defined(); }
};

template <class Real>
struct BalancePoolKernels {
    /// sums [2 C + 1]: per column the sum of p and the slots, then the valid tokens.
    void (*count)(Stream, View<const Real, 2> p, View<const std::int32_t, 2> choice,
                  View<const std::uint8_t, 1> valid, View<double, 1> sums, Write);
    void (*finish)(Stream, View<const double, 1> sums, Index K, View<Real, 1> loss, View<Real, 2> slope,
                   BalanceOptions);
};

inline constinit KernelSlot<BalancePoolKernels> balance_pool_slot{"balance_pool"};

namespace detail {

template <class Real>
void check_balance_pool(const std::vector<BalanceRows<Real>>& routers, const Segments& segments) {
    for (const auto& one : routers) {
        const bool fits = one.p.shape().rank() == 2 && one.choice.shape().rank() == 2 &&
                          one.p.extent(0) == segments.tokens() && one.choice.extent(0) == segments.tokens() &&
                          one.p.extent(1) == routers.front().p.extent(1) &&
                          one.choice.extent(1) == routers.front().choice.extent(1);
        if (fits) continue;
        throw Error{ErrorCode::shape, "balance_pool", "routers of one size over the same tokens",
                    format("p {}, choice {} beside p {}, choice {}; segments of {}", one.p.shape().text(),
                           one.choice.shape().text(), routers.front().p.shape().text(),
                           routers.front().choice.shape().text(), segments.tokens())};
    }
}

}  // namespace detail

/// At least one router, all with T tokens, C columns and K slots -> [1]. options.scope is not read.
template <class Real>
Var<Real> balance_pool(Tape& tape, const std::vector<BalanceRows<Real>>& routers, const Segments& segments,
                       BalanceOptions options) {
    detail::check_balance_pool(routers, segments);
    options.scope = BalanceOptions::Scope::micro;
    const auto& kernels = balance_pool_slot.get<Real>(tape.device());
    const Index C = routers.front().p.extent(1), K = routers.front().choice.extent(1);
    bool needs_gradient = false;
    for (const auto& one : routers) needs_gradient = needs_gradient || one.p.needs_gradient();
    auto loss = tape.output<Real>({1}, needs_gradient);
    auto slope = tape.make<Real>({1, C});
    const auto sums = tape.make<double>({2 * C + 1});
    Write write = Write::overwrite;
    for (const auto& one : routers) {
        kernels.count(tape.stream(), one.p.template view<2>(), one.choice.template view<2>(),
                      segments.valid.view<1>(), sums.view<1>(), write);
        write = Write::accumulate;
    }
    kernels.finish(tape.stream(), sums.view<1>(), K, loss.value().template view<1>(),
                   slope.template view<2>(), options);
    if (!loss.needs_gradient()) return loss;
    std::vector<std::shared_ptr<Gradient<Real>>> into;
    for (const auto& one : routers) {
        if (one.p.needs_gradient()) into.push_back(one.p.gradient());
    }
    tape.record(loss.gradient(),
                [&backward = balance_loss_slot.get<Real>(tape.device()), stream = tape.stream(), slope,
                 segment = segments.segment, valid = segments.valid, options, into, dloss = loss.gradient()] {
                    for (const auto& gradient : into) {
                        auto dp = gradient->target();
                        backward.backward(stream, slope.template view<2>(), segment.template view<1>(),
                                          valid.template view<1>(), dloss->tensor().template view<1>(),
                                          dp.tensor.template view<2>(), dp.write, options);
                    }
                });
    return loss;
}

}  // namespace moegrad
