#pragma once
// SwappedRouter: top-K, but a token whose router is not sure gets other experts than the best, to ask how much a model
// depends on choices that its routers make without knowing (GW-MoE, arXiv 2406.12375, means to take this dependence away).
// Which experts stand in is our reading: those that follow in rank.
//     p = softmax(z),   H = -sum_e p_e log(p_e + 1e-5) in nats,   uncertain: H >= tau ln E
//     S = ranks K .. 2K - 1 of the logits of an uncertain token, 0 .. K - 1 of any other   (ties: lowest index)
//     w_e = p_e / sum_S p   or   w_e = p_e
// Not a method: methods/intervene.hpp puts it in the place of a router that has trained.

#include <cmath>

#include <moegrad/ops/add.hpp>
#include <moegrad/ops/concat.hpp>
#include <moegrad/ops/entropy.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/mix.hpp>
#include <moegrad/ops/scatter.hpp>
#include <moegrad/ops/uncertain_tokens.hpp>
#include <moegrad/routing/gate_router.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

template <class Real>
struct SwappedRouter : GateRouter<Real> {
    using GateRouter<Real>::gate, GateRouter<Real>::k, GateRouter<Real>::experts;
    static constexpr double kEps = 1e-5;   // as GW-MoE has it
    static constexpr double kFar = -1e30;  // below every logit
    double tau = 0.77;
    TopKWeights weights = TopKWeights::renormalized;
    PenaltySettings penalties{};

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);
        const auto p = softmax(tape, z);
        Tape aside(tape.context(), Mode::inference);
        const auto h = entropy(aside, Var<Real>(p.value()), kEps).value();
        const double limit = tau * std::log(static_cast<double>(experts()));
        const auto tokens = uncertain_tokens(tape, h, input.segments, {.threshold = limit});
        const Var<Real> seen(z.value()), branch(tokens.branch);
        const auto score = mix(aside, branch, concat(aside, seen, without_best(aside, seen)));
        const auto choice = top_k(tape, score.value(), k);
        auto routing = chosen_routing(tape, z, p, choice, input.segments, weights, penalties);
        routing.traces.push_back({"swapped", tokens.score});
        return routing;
    }

    /// Throws where no K experts are left to stand in; called by whoever builds the router.
    void check() const {
        if (k >= 1 && 2 * k <= experts() && tau >= 0) return;
        throw Error{ErrorCode::config, "swap",
                    format("a share of ln E from 0, and {} experts or more", 2 * k),
                    format("{}, and {} experts", tau, experts())};
    }

private:
    /// z [T, E] with the K best of every row out of reach.
    Var<Real> without_best(Tape& aside, const Var<Real>& z) const {
        const auto best = top_k(aside, z.value(), k);
        const Var<Real> far(filled<Real>(aside, best.shape(), static_cast<Real>(kFar)));
        return add(aside, z, scatter(aside, far, best, experts()));
    }
};

}  // namespace moegrad
