// FactorRouter alone: the contract of its gates, and what straight-through hands back.

#include "support/routing_golden.hpp"

#include <moegrad/models/stored_tensor.hpp>
#include <moegrad/routing/factor_router.hpp>
#include <moegrad/testing/router_conformance.hpp>
#include <moegrad/testing/router_scope.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

template <class Real>
FactorRouter<Real> factor_router(const RouterSize& size, std::uint64_t seed, FactorGate mode) {
    FactorRouter<Real> router;
    router.gate = detail::random_gate<Real>("layer.gate", size.experts, size, GateTraining::full, seed, 0);
    router.bias = std::make_shared<Parameter<Real>>("layer.router.bias", Shape{size.experts, 1});
    router.bias->set_trainable(true);
    fill_normal(router.bias->value(), 0.5, seed, 4);
    router.k = size.slots;
    router.mode = mode;
    router.confidence = true;
    return router;
}

template <FactorGate Mode>
struct FactorEntry {
    static constexpr WeightSum sum = Mode == FactorGate::hard ? WeightSum::one : WeightSum::at_most_one;
    static std::string method() { return "factor"; }
    static std::string name() { return Mode == FactorGate::hard ? "factor hard" : "factor weighted"; }
    static Index most_slots(const RouterSize& size) { return size.experts; }
    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed, const PenaltySettings& = {}) {
        return factor_router<Real>(size, seed, Mode);
    }
};

/// dL/dz of one token for dL/dw = g, and its weights.
struct FactorGradient {
    std::vector<double> weight, bias;
    std::vector<std::int32_t> expert;
};
FactorGradient factor_gradient(FactorGate mode, const std::vector<double>& g) {
    const RouterSize size{.features = 3, .experts = 4, .slots = 2};
    auto router = factor_router<double>(size, 5, mode);
    router.confidence = false;
    const auto batch = test::random_batch<double>(3, {1}, 4);
    const auto token = Tensor<std::int32_t>::zeros({1});
    Tape tape(test::routing_context());
    const auto routing =
        router.route(tape, {.x = Var<double>(batch.x), .token = token, .segments = batch.segments});
    FactorGradient out;
    const auto weight = routing.weight.value();
    out.weight.assign(weight.values().begin(), weight.values().end());
    out.expert.assign(routing.expert.values().begin(), routing.expert.values().end());
    if (routing.weight.needs_gradient()) {
        auto target = routing.weight.gradient()->target();
        std::copy(g.begin(), g.end(), target.tensor.data());
        tape.backward();
    }
    const auto bias = total_gradient(*router.bias);
    out.bias.assign(bias.values().begin(), bias.values().end());
    return out;
}

}  // namespace

TEST_CASE("factor_llm: the hard and the weighted router keep the contract") {
    for (const auto& entry : {test::router_case<FactorEntry<FactorGate::hard>>(),
                              test::router_case<FactorEntry<FactorGate::weighted>>()}) {
        const auto report = test::check_router(entry);
        CHECK_MESSAGE(report.passed(), report.text());
    }
}

TEST_CASE("factor_llm: straight-through has the hard weights and 1 / K of the weighted gradient") {
    const std::vector<double> g{0.7, -1.3};
    const auto hard = factor_gradient(FactorGate::hard, g), soft = factor_gradient(FactorGate::weighted, g),
               through = factor_gradient(FactorGate::straight_through, g);
    CHECK(hard.weight == std::vector<double>{0.5, 0.5});
    CHECK(through.weight == hard.weight);
    CHECK(through.expert == soft.expert);
    for (std::size_t e = 0; e < 4; ++e) {
        CHECK(hard.bias[e] == 0);
        CHECK(through.bias[e] == doctest::Approx(soft.bias[e] / 2).epsilon(1e-12));
        // 1a of methods.md: dz_j = p_j (1[j in S] g_j - sum_{i in S} p_i g_i), all columns.
        CHECK(soft.bias[e] != 0);
    }
    double sum = 0;
    for (std::size_t s = 0; s < 2; ++s) sum += soft.weight[s] * g[s];
    for (std::size_t s = 0; s < 2; ++s) {
        CHECK(soft.bias[static_cast<std::size_t>(soft.expert[s])] ==
              doctest::Approx(soft.weight[s] * (g[s] - sum)).epsilon(1e-12));
    }
}
