#pragma once
// uncertain_tokens: which tokens of a batch score high enough, and how many of them there is room for.
//     over[t]  = valid[t] and h[t] >= H
//     flag[t]  = over[t] and (slots < 0 or the number of over[u], u <= t in t's segment, is at most slots)
//     H        = the threshold; or with a quantile q in [0, 1] the value of rank min(n - 1, floor(q n)), from 0 and the
//                smallest first, among the h of the n valid tokens: then about (1 - q) n tokens are over
//     score[t] = flag[t] as a number,  branch[t] = (1 - flag[t], flag[t])
// Not differentiable. A NaN of a valid token is an error; on a GPU it is never over and sets status()->not_finite.
// The decision is recorded and replayed as that of top_k.
// Saved: nothing.       He et al. 2024 (GW-MoE, arXiv 2406.12375); the cap stands in its code only.

#include <moegrad/autograd/recorded_choice.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

struct UncertainOptions {
    double threshold = 0;  // read where there is no quantile
    double quantile = -1;  // negative: none
    Index slots = -1;      // a segment; negative: any number

    MOEGRAD_HD constexpr bool by_quantile() const { return quantile >= 0; }
    MOEGRAD_HD constexpr Index rank(Index n) const {
        const auto at = static_cast<Index>(quantile * static_cast<double>(n));
        return at < n - 1 ? at : n - 1;
    }
};

template <class Real>
struct UncertainTokensKernels {
    /// begin [S + 1] as in Segments; limit [1]: room for H.
    void (*decide)(Stream, View<const Real, 1> h, View<const std::uint8_t, 1> valid,
                   View<const std::int32_t, 1> begin, View<double, 1> limit, View<std::int32_t, 1> flag,
                   UncertainOptions);
    void (*spread)(Stream, View<const std::int32_t, 1> flag, View<Real, 1> score, View<Real, 2> branch);
};

inline constinit KernelSlot<UncertainTokensKernels> uncertain_tokens_slot{"uncertain_tokens",
                                                                          Proof::reference};

template <class Real>
struct UncertainTokens {
    Tensor<Real> score;   // [T]     1 or 0
    Tensor<Real> branch;  // [T, 2]  (1, 0) or (0, 1)
};

/// h [T].
template <class Real>
UncertainTokens<Real> uncertain_tokens(Tape& tape, const Tensor<Real>& h, const Segments& segments,
                                       const UncertainOptions& options) {
    const Index T = segments.tokens();
    if (!(h.shape() == Shape{T})) {
        throw Error{ErrorCode::shape, "uncertain_tokens", format("h [{}]", T), "h " + h.shape().text()};
    }
    if (options.threshold != options.threshold || !(options.quantile <= 1)) {
        throw Error{ErrorCode::value, "uncertain_tokens", "a threshold that is a number, a quantile up to 1",
                    format("{} and {}", options.threshold, options.quantile)};
    }
    const auto& kernels = uncertain_tokens_slot.get<Real>(tape.device());
    const auto flag = recorded_choice(tape, "uncertain_tokens", {T}, [&](const Tensor<std::int32_t>& to) {
        const auto limit = tape.make<double>({1});
        kernels.decide(tape.stream(), h.template view<1>(), segments.valid.view<1>(),
                       segments.begin.view<1>(), limit.view<1>(), to.template view<1>(), options);
    });
    const UncertainTokens<Real> tokens{tape.make<Real>({T}), tape.make<Real>({T, 2})};
    kernels.spread(tape.stream(), flag.template view<1>(), tokens.score.template view<1>(),
                   tokens.branch.template view<2>());
    return tokens;
}

}  // namespace moegrad
