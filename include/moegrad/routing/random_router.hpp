#pragma once
// RandomRouter: K different experts drawn at random for every token, every set of K equally likely. Not a method: it
// shows what the choice of experts is worth on a model. A base on which random experts cost little says nothing about
// routers.
//     weights   equal 1/K, or the gate's own probabilities renormalised over what was drawn
// Draws are those of ops/random_choice.hpp, keyed by (seed, step, module; sample, position); no step outside training.

#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/random_choice.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

enum class RandomWeights { equal, renormalized };

template <class Real>
struct RandomRouter {
    Gate<Real> gate;  // weighs the experts, and its logits must be numbers
    Index k = 2;
    RandomWeights weights = RandomWeights::renormalized;
    std::uint64_t seed = 0;

    Index slots() const { return k; }
    Index experts() const { return gate.columns(); }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() { return gate.parameters(); }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const auto z = gate.logits(tape, input.x, input.segments);
        const auto p = softmax(tape, z);
        top_k(tape, z.value(), 1);  // names the token whose logits are not numbers
        const auto choice =
            random_choice<Real>(tape, input.segments, experts(), k, DrawKey::of(tape, seed, input.module));
        const Var<Real> ones(filled<Real>(tape, choice.shape(), 1));
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, input.segments, experts());
        routing.weight = weights == RandomWeights::renormalized
                             ? chosen_softmax(tape, z, choice, routing.expert)
                             : renormalize(tape, ones, routing.expert);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }
};

}  // namespace moegrad
