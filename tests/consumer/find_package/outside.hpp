#pragma once
// One expert per token, weighted by its sigmoid score (Llama-4 style): w = sigmoid(z_e - z_0), e = argmax z.

#include <moegrad/methods/router_registry.hpp>
#include <moegrad/ops/concat.hpp>

namespace outside {

template <class Real>
struct SigmoidRouter : moegrad::GateRouter<Real> {
    std::shared_ptr<moegrad::Parameter<Real>> zero;  // the score that 0 has, [1, D]

    static SigmoidRouter make(moegrad::RouterBuild<Real> build) {
        SigmoidRouter router;
        router.k = 1;

        router.zero = build.normal("zero", {1, build.features}, build.options.number("deviation", 0.02));
        router.gate = std::move(build.gate);
        return router;
    }
    std::vector<moegrad::Parameter<Real>*> parameters() {
        auto all = this->gate.parameters();
        all.push_back(zero.get());
        return all;
    }

    moegrad::Routing<Real> route(moegrad::Tape& tape, const moegrad::RouteInput<Real>& input) {
        const auto z = this->gate.logits(tape, input.x, input.segments);
        moegrad::Routing<Real> routing;
        routing.expert =
            moegrad::classify_slots<Real>(tape, top_k(tape, z.value(), 1), input.segments, this->experts());
        // sigmoid(a - b) is the first of softmax([a, b]).
        const auto pair = concat(tape, take(tape, z, routing.expert), linear(tape, input.x, zero->use()));
        const auto first = moegrad::Tensor<std::int32_t>::zeros({z.extent(0), 1});
        routing.weight = moegrad::keep_true(tape, take(tape, softmax(tape, pair), first), routing.expert);
        routing.stats =
            route_stats(tape, routing.expert, routing.expert, softmax(tape, z).value(), input.segments);
        return routing;
    }
};

}  // namespace outside
