#pragma once
// Routers as a stranger would register them, for the tests of the registry and of what stands on it.

#include <moegrad/methods/router_registry.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/top_k.hpp>
#include <moegrad/routing/chosen_softmax.hpp>

namespace moegrad::test {

/// Top-k of z + b: the checkpoint's gate and a bias of its own, and a counter that after_step moves.
template <class Real>
struct BiasedRouter {
    Gate<Real> gate;
    std::shared_ptr<Parameter<Real>> bias, steps;  // [E, 1], [1, 1]
    Index k = 2;
    double temperature = 1;
    PenaltySettings penalties{};

    static BiasedRouter make(RouterBuild<Real> build) {
        BiasedRouter mine;
        mine.bias = build.normal("bias", {build.experts, 1}, 0.1);
        mine.steps = build.zeros("steps", {1, 1});
        mine.steps->set_trainable(false);  // after_step sets it, not the optimiser
        mine.k = build.top_k;
        mine.temperature = build.options.number("temperature", 1);
        mine.penalties = build.penalties;
        mine.gate = std::move(build.gate);
        return mine;
    }

    Index slots() const { return k; }
    Index experts() const { return gate.columns(); }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() {
        auto all = gate.parameters();
        all.insert(all.end(), {bias.get(), steps.get()});
        return all;
    }
    void after_step(const RoutingTotals&) { steps->value().data()[0] += 1; }

    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        const Var<Real> one(filled<Real>(tape, {input.x.extent(0), 1}, temperature));
        const auto z = add(tape, gate.logits(tape, input.x, input.segments), linear(tape, one, bias->use()));
        const auto p = softmax(tape, z);
        const auto choice = top_k(tape, z.value(), k);
        Routing<Real> routing;
        routing.expert = classify_slots<Real>(tape, choice, input.segments, experts());
        routing.weight = chosen_softmax(tape, z, choice, routing.expert);
        add_penalties(tape, routing, z, p, choice, input.segments, experts(), penalties);
        routing.stats = route_stats(tape, routing.expert, choice, p.value(), input.segments);
        return routing;
    }
};

inline const RegisterRouter<BiasedRouter> biased_registered{"biased"};

}  // namespace moegrad::test
