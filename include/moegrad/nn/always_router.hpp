#pragma once
// AlwaysRouter: every token uses every one of N experts, each with weight 1: y = sum_j E_j(x), no gate and no 1/N. The
// router of branches that are always on (PERFT-D and -S). Weights sum to N, which the experts of a feed-forward would not
// stand, so it is none of the built-in routers.

#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/take.hpp>
#include <moegrad/ops/top_k.hpp>
#include <moegrad/routing/router.hpp>

namespace moegrad {

template <class Real>
struct AlwaysRouter {
    Index N = 1;

    Index slots() const { return N; }
    Index experts() const { return N; }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() { return {}; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const Shape all{input.x.extent(0), N};
        const auto even = filled<Real>(tape, all, 1 / static_cast<double>(N));
        const auto choice = top_k(tape, even, N);  // equal scores: 0, 1, .. N - 1
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, input.segments, N);
        routing.weight = take(tape, Var<Real>(filled<Real>(tape, all, 1)), routing.expert);
        routing.stats = route_stats(tape, routing.expert, choice, even, input.segments);
        return routing;
    }
};

}  // namespace moegrad
