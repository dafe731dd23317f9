// The two routers that draw: random_drop (a control) and random (the assay). What is special about them: how often they
// draw what, and what a draw depends on.

#include <moegrad/testing/router_scope.hpp>
#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

constexpr Index kExperts = 5;

/// Logits are the features themselves.
RandomDropRouter<double> dropping(double load, Index k = 2, std::uint64_t seed = 3) {
    RandomDropRouter<double> router;
    router.gate = Gate<double>(test::parameter_of(test::unit_rows(0, kExperts, kExperts)));
    router.k = k;
    router.load = load;
    router.seed = seed;
    router.check();
    return router;
}

/// The experts of a batch as layer `module`, in training or not, at a step.
template <class R>
test::Outcome<double> routed(R router, const test::RouterBatch<double>& batch, Mode mode = Mode::inference,
                             std::uint64_t step = 0, std::uint32_t module = 0) {
    auto& context = test::routing_context();
    context.scalars().step = step;
    Tape tape(context, mode);
    const auto token = Tensor<std::int32_t>::zeros({batch.tokens()});
    const RouteInput<double> input{.x = Var<double>(batch.x),
                                   .token = token,
                                   .segments = batch.segments,
                                   .mode = mode,
                                   .module = module};
    const auto outcome = test::detail::outcome_of(router.route(tape, input));
    context.scalars().step = 0;
    return outcome;
}

std::vector<std::int32_t> experts(const test::Outcome<double>& outcome) {
    return {outcome.expert.values().begin(), outcome.expert.values().end()};
}

template <RandomWeights Weights>
struct RandomEntry {
    static constexpr WeightSum sum = WeightSum::one;
    static constexpr bool relabels = false;  // draws numbers
    static std::string name() { return "random"; }
    static Index most_slots(const RouterSize& size) { return size.experts; }
    template <class Real>
    static AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed, const PenaltySettings&) {
        auto gate = detail::random_gate<Real>("gate", size.experts, size, GateTraining::full, seed, 0);
        return RandomRouter<Real>{.gate = std::move(gate), .k = size.slots, .weights = Weights, .seed = seed};
    }
};

}  // namespace

TEST_CASE("random_drop: the share of tokens with two experts is the load, the best expert always stays") {
    const auto batch = test::random_batch<double>(kExperts, {20000}, 1);
    const auto top = routed(TopKRouter<double>{.gate = dropping(2).gate, .k = 2}, batch);
    for (double load : {1.25, 1.6, 1.9}) {
        const auto got = routed(dropping(load), batch);
        CHECK(got.stats.load() == doctest::Approx(load).epsilon(0.008));  // 4 deviations of a fair draw
        CHECK(static_cast<double>(got.stats.dropped_slots()) ==
              doctest::Approx((2 - got.stats.load()) * 20000));
        for (Index t = 0; t < batch.tokens(); ++t) {
            CHECK(got.expert.matrix()(t, 0) == top.expert.matrix()(t, 0));
            const bool dropped = got.expert.matrix()(t, 1) == kDropped;
            if (dropped) CHECK(got.weight.matrix()(t, 0) == 1.0);
            if (!dropped) CHECK(got.weight.matrix()(t, 0) == top.weight.matrix()(t, 0));
        }
    }
}

TEST_CASE("random_drop: load 1 is top-1 and load K is top-K, to the bit; others are refused") {
    const auto batch = test::random_batch<double>(kExperts, {50}, 2);
    for (Index k : {2, 3, 5}) {
        const auto all = routed(dropping(static_cast<double>(k), k), batch);
        const auto want = routed(TopKRouter<double>{.gate = dropping(2).gate, .k = k}, batch);
        CHECK(test::same_values(all.expert, want.expert));
        CHECK(test::same_values(all.weight, want.weight));
        const auto one = routed(dropping(1, k), batch);
        for (Index t = 0; t < batch.tokens(); ++t) {
            CHECK(one.expert.matrix()(t, 0) == want.expert.matrix()(t, 0));
            for (Index slot = 1; slot < k; ++slot) CHECK(one.expert.matrix()(t, slot) == kDropped);
        }
    }
    CHECK_THROWS_AS(dropping(0.9), Error);
    CHECK_THROWS_AS(dropping(2.1), Error);
    CHECK_THROWS_AS(dropping(NAN), Error);
}

TEST_CASE("random_drop: a draw depends on seed, layer, sample and position; on the step in training only") {
    const auto batch = test::random_batch<double>(kExperts, {60, 70}, 3);
    const auto want = experts(routed(dropping(1.5), batch));
    CHECK(experts(routed(dropping(1.5), batch, Mode::inference, 7)) == want);
    CHECK(experts(routed(dropping(1.5, 2, 4), batch)) != want);
    CHECK(experts(routed(dropping(1.5), batch, Mode::inference, 0, 1)) != want);
    const auto first = experts(routed(dropping(1.5), batch, Mode::training, 0));
    CHECK(first != want);
    CHECK(experts(routed(dropping(1.5), batch, Mode::training, 1)) != first);
    CHECK(experts(routed(dropping(1.5), batch, Mode::training, 0)) == first);
    // The same token twice in one segment, and the same text as another sample, are cut in other places.
    auto equal = test::random_batch<double>(kExperts, {60, 60}, 3);
    for (Index t = 0; t < equal.tokens(); ++t)
        for (Index e = 0; e < kExperts; ++e) equal.x.matrix()(t, e) = static_cast<double>(e);
    const auto got = routed(dropping(1.5), equal);
    Index kept_in_first = 0, differ = 0;
    for (Index t = 0; t < 60; ++t) {
        kept_in_first += got.expert.matrix()(t, 1) >= 0;
        differ += got.expert.matrix()(t, 1) != got.expert.matrix()(60 + t, 1);
    }
    CHECK(kept_in_first > 15);
    CHECK(kept_in_first < 45);
    CHECK(differ > 10);
}

TEST_CASE("random: keeps the router contract") {
    for (const auto& router : {test::router_case<RandomEntry<RandomWeights::equal>>(),
                               test::router_case<RandomEntry<RandomWeights::renormalized>>()}) {
        const auto report = test::check_router(router, 100);
        INFO(report.text());
        CHECK(report.passed());
    }
}

TEST_CASE("random: every expert and every pair is drawn equally often, whatever the gate says") {
    const auto batch = test::random_batch<double>(kExperts, {20000}, 5);
    const auto got = routed(
        RandomRouter<double>{.gate = dropping(2).gate, .k = 2, .weights = RandomWeights::equal, .seed = 1},
        batch);
    std::map<std::pair<std::int32_t, std::int32_t>, Index> pairs;
    for (Index t = 0; t < batch.tokens(); ++t) {
        const std::int32_t a = got.expert.matrix()(t, 0), b = got.expert.matrix()(t, 1);
        ++pairs[{a, b}];
        CHECK(got.weight.matrix()(t, 0) == 0.5);
    }
    CHECK(pairs.size() == kExperts * (kExperts - 1));
    for (const auto& [pair, count] : pairs) {
        CHECK(pair.first != pair.second);
        CHECK(std::abs(static_cast<double>(count) - 1000) < 150);  // 5 deviations
    }
}
