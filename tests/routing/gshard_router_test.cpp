// gshard: its balance loss, the policies for the second expert, and the order in which slots find a place.

#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Logits are the features themselves.
GShardRouter<double> gshard_router(Index E, const std::string& options, std::uint64_t seed = 3) {
    return GShardRouter<double>::make(test::build_on_logits(E, options, std::min<Index>(2, E), seed));
}
test::Outcome<double> gshard(const std::string& options, const test::RouterBatch<double>& batch,
                             std::uint64_t seed = 3) {
    AnyRouter<double> router = gshard_router(batch.x.extent(1), options, seed);
    return test::decide(router, batch);
}

}  // namespace

TEST_CASE("gshard golden: choice, weights, balance loss and its gradient, by PyTorch") {
    // torch, float64: softmax, topk, g / (sum g + 1e-9), E^2 mean(density proxy) with density of the first choices.
    AnyRouter<double> router = gshard_router(4, "policy=all");
    const auto batch = test::batch_of(test::capacity_logits());
    const auto got = test::decide(router, batch);
    const std::vector<std::int32_t> choice{0, 2, 1, 3, 0, 2, 2, 1, 0, 1, 3, 1};
    const std::vector<double> g{0.689974480188026, 0.310025518450204, 0.524979186738384, 0.475020811850977,
                                0.524979186902941, 0.475020811999874, 0.52497918660448,  0.475020811729816,
                                0.524979186636576, 0.475020811758857, 0.802183887482894, 0.197816111176157};
    const std::vector<double> dz{
        0.0555456555142011, -0.0127292852085183,  -0.0256336325528175,  -0.0171827377528653,
        0.0309462456587425, -0.0138294356189654,  -0.00460341922141784, -0.0125133908183592,
        0.0554526240532059, -0.00688529686277294, -0.0460343680282565,  -0.0025329591621764,
        0.0270133325920605, -0.00897450424571145, -0.00991836109650672, -0.00812046724984231,
        0.0489183538266506, -0.0215241743063897,  -0.00791830121551134, -0.0194758783047496,
        0.0257030877550628, -0.00437579007663223, -0.00358259390475227, -0.0177447037736783};
    for (std::size_t i = 0; i < 12; ++i) {
        CHECK(got.expert.values()[i] == choice[i]);
        CHECK(std::abs(got.weight.values()[i] - g[i]) < 2e-9);  // 1e-9 in the denominator
    }
    CHECK(std::abs(test::penalty_value(got, "balance").data()[0] - 1.05658835220769) < 1e-12);
    const auto dx = test::penalty_gradient(router, batch, "balance");
    for (std::size_t i = 0; i < 24; ++i) CHECK(std::abs(dx.values()[i] - dz[i]) < 1e-12);
}

TEST_CASE("gshard: uniform probabilities cost 1, one expert for all E") {
    const auto uniform = test::batch_of(Tensor<double>::zeros({5, 4}));
    CHECK(test::penalty_value(gshard("", uniform), "balance").data()[0] == doctest::Approx(1));
    auto one = Tensor<double>::zeros({5, 4});
    for (Index t = 0; t < 5; ++t) one.matrix()(t, 2) = 60;
    CHECK(test::penalty_value(gshard("", test::batch_of(one)), "balance").data()[0] == doctest::Approx(4));
}

TEST_CASE("gshard: policies for the second expert; the first one's weight stays what it was") {
    const auto batch = test::random_batch<double>(5, {3000}, 1);
    const auto all = gshard("policy=all", batch);
    AnyRouter<double> top = TopKRouter<double>{.gate = test::unit_gate(5), .k = 2};
    const auto want = test::decide(top, batch);
    CHECK(test::same_values(all.expert, want.expert));
    CHECK(test::same_values(all.weight, want.weight));
    const auto none = gshard("policy=none", batch), limit = gshard("policy=threshold, threshold=0.3", batch);
    const auto random = gshard("", batch);
    double expected = 0, kept = 0;
    for (Index t = 0; t < 3000; ++t) {
        const double g2 = all.weight.matrix()(t, 1);
        CHECK(none.expert.matrix()(t, 1) == kDropped);
        CHECK(none.weight.matrix()(t, 0) == all.weight.matrix()(t, 0));
        CHECK((limit.expert.matrix()(t, 1) >= 0) == (g2 > 0.3));
        if (g2 >= 0.2) CHECK(random.expert.matrix()(t, 1) >= 0);
        CHECK(random.weight.matrix()(t, 0) == all.weight.matrix()(t, 0));
        expected += std::min(1.0, g2 / 0.2);
        kept += random.expert.matrix()(t, 1) >= 0;
    }
    CHECK(kept < 2990);  // some have less than 0.2
    CHECK(std::abs(kept - expected) < 60);
    CHECK(static_cast<double>(random.stats.dropped_slots()) == 3000 - kept);
}

TEST_CASE("gshard: draws outside training are always the same, in training they change with the step") {
    auto batch = test::random_batch<double>(5, {500}, 2);
    for (double& value : batch.x.values()) value *= 3;  // second experts of little weight
    AnyRouter<double> router = gshard_router(5, "");
    const auto want = test::decide(router, batch);
    CHECK(test::same_values(test::decide(router, batch).expert, want.expert));
    CHECK_FALSE(test::same_values(gshard("", batch, 4).expert, want.expert));
    const auto first = test::decide_and_learn(router, batch);
    test::routing_context().scalars().step = 1;
    CHECK_FALSE(test::same_values(test::decide_and_learn(router, batch).expert, first.expert));
    test::routing_context().scalars().step = 0;
}

TEST_CASE("gshard: first choices find a place before any second one; what has none weighs 0") {
    // First choices 0 0 0 1, second ones 1 1 2 0; C = max(1, floor(4 1.0 / 3)) = 1.
    const auto batch = test::batch_of(Tensor<double>::from({4, 3}, {3, 2, 1, 3, 2, 1, 3, 1, 2, 2, 3, 1}));
    const auto got = gshard("policy=all, eval_capacity=1, min_capacity=1", batch);
    constexpr std::int32_t D = kDropped;
    const std::int32_t want[] = {0, D, D, D, D, 2, 1, D};
    for (std::size_t i = 0; i < 8; ++i) {
        CHECK(got.expert.values()[i] == want[i]);
        CHECK((got.weight.values()[i] > 0) == (want[i] >= 0));
    }
    CHECK_FALSE(got.passthrough.defined());  // the token keeps its residual, nothing is added to it
    CHECK(got.stats.dropped_slots() == 5);
    // The choice stays in the statistics.
    CHECK(got.stats.slots()[0] == 4);
    AnyRouter<double> router = gshard_router(3, "eval_capacity=1");
    CHECK(router.scope() == RouterScope::sequence);
    // In training eval_capacity says nothing.
    CHECK(test::decide_and_learn(router, batch).stats.experts_per_token()[0] == 0);
}

TEST_CASE("gshard: options that make no sense are refused") {
    for (const char* options :
         {"policy=second", "threshold=-1", "capacity=-1", "capacity_order=best", "capacity_scope=layer"}) {
        CHECK_THROWS_AS(gshard_router(3, options), Error);
    }
    CHECK(gshard_router(3, "capacity=1.25, capacity_scope=batch").scope() == RouterScope::batch);
    CHECK(gshard_router(3, "").scope() == RouterScope::token);
}
