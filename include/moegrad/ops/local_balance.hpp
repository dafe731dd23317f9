#pragma once
// local_balance: LoRAMoE's localized balancing constraint. Experts are of as many types as there are kinds of tasks; those
// of a sample's own type should carry more of it, all others be balanced among themselves.
//     Q[s,e] = sum of p[t,e] over the valid tokens of segment s
//     type of expert e = types - 1 - (e types / E, rounded down):   with two types the first half is of type 1
//     I[s,e] = 1 + delta where task[s] is the type of e, else 1 - delta
//     Z = I Q, n values: of the segments that have a valid token.   m = sum Z / n
//     squared    L = v / (m^2 + 1e-10),  v = sum (Z - m)^2 / (n - 1)     the released code: no matter how long samples are
//     plain      L = v / m,              v = sum (Z - m)^2 / n           the paper: grows with their length
// Fewer than two values: L = 0. backward: dp[t,e] = dL I[s,e] dL/dZ[s,e] for valid tokens, 0 for padding,
//     squared    dL/dZ = (2 (Z - m) / (n - 1) - 2 m L / n) / (m^2 + 1e-10)
//     plain      dL/dZ = (2 (Z - m) - L) / (n m)
// A segment with a valid token and a task outside [0, types) is an error. Sums run over the tokens of a segment in order,
// then over segments and experts; on a GPU by blocks.
// Saved: I dL/dZ [S, E].       Dou et al. 2023 (LoRAMoE, arXiv 2312.09979).

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

struct LocalBalanceOptions {
    enum class Form { squared, plain };

    Form form = Form::squared;
    double delta = 0.1;
    Index types = 2;
};

/// I[s,e] of a segment of this task.
MOEGRAD_HD constexpr double local_importance(const LocalBalanceOptions& options, std::int32_t task, Index e,
                                             Index E) {
    const Index type = options.types - 1 - e * options.types / E;
    return task == type ? 1 + options.delta : 1 - options.delta;
}

/// L and dL/dZ from the moments of Z.
struct LocalBalance {
    double n, mean, variance;  // variance: sum (Z - m)^2 over n - 1 or n
    bool squared;

    MOEGRAD_HD constexpr bool counts() const { return n > 1 && below() > 0; }
    MOEGRAD_HD constexpr double below() const { return squared ? mean * mean + 1e-10 : mean; }
    MOEGRAD_HD constexpr double loss() const { return counts() ? variance / below() : 0; }
    MOEGRAD_HD constexpr double slope(double Z) const {
        if (!counts()) return 0;
        if (squared) return (2 * (Z - mean) / (n - 1) - 2 * mean * loss() / n) / below();
        return (2 * (Z - mean) - loss()) / (n * mean);
    }
};

template <class Real>
struct LocalBalanceKernels {
    /// loss [1], slope [S, E] = I dL/dZ. room [S, E + 1]: for a GPU's Q and the valid tokens of each segment.
    void (*forward)(Stream, View<const Real, 2> p, View<const std::int32_t, 1> begin,
                    View<const std::uint8_t, 1> valid, View<const std::int32_t, 1> task, View<Real, 1> loss,
                    View<Real, 2> slope, View<double, 2> room, LocalBalanceOptions);
    void (*backward)(Stream, View<const Real, 2> slope, View<const std::int32_t, 1> segment,
                     View<const std::uint8_t, 1> valid, View<const Real, 1> dloss, View<Real, 2> dp, Write);
};

inline constinit KernelSlot<LocalBalanceKernels> local_balance_slot{"local_balance"};

/// p [T, E], segments with tasks -> [1].
template <class Real>
Var<Real> local_balance(Tape& tape, const Var<Real>& p, const Segments& segments,
                        const LocalBalanceOptions& options) {
    const Index S = segments.count();
    if (p.shape().rank() != 2 || p.extent(0) != segments.tokens() || !segments.task.defined() ||
        !(segments.task.shape() == Shape{S})) {
        throw Error{ErrorCode::shape, "local_balance", "p [T, E] and segments of T tokens with a task each",
                    format("p {}, segments of {}, tasks {}", p.shape().text(), segments.tokens(),
                           segments.task.defined() ? segments.task.shape().text() : "none")};
    }
    const auto& kernels = local_balance_slot.get<Real>(tape.device());
    auto loss = tape.output<Real>({1}, p.needs_gradient());
    auto slope = tape.make<Real>({S, p.extent(1)});
    const auto room = tape.make<double>({S, p.extent(1) + 1});
    kernels.forward(tape.stream(), p.template view<2>(), segments.begin.view<1>(), segments.valid.view<1>(),
                    segments.task.view<1>(), loss.value().template view<1>(), slope.template view<2>(),
                    room.template view<2>(), options);
    if (!loss.needs_gradient()) return loss;
    tape.record(loss.gradient(), [&kernels, stream = tape.stream(), slope, segment = segments.segment,
                                  valid = segments.valid, gradient = p.gradient(), dloss = loss.gradient()] {
        auto dp = gradient->target();
        kernels.backward(stream, slope.template view<2>(), segment.template view<1>(),
                         valid.template view<1>(), dloss->tensor().template view<1>(),
                         dp.tensor.template view<2>(), dp.write);
    });
    return loss;
}

}  // namespace moegrad
