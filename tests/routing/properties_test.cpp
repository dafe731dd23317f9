// Properties of the routers that ship, beyond the contract: ties, relabelling, shifts, where gradients end, what a
// balance loss costs, dense limits, published top-k vectors.

#include <moegrad/testing/router_scope.hpp>
#include "support/routing_builtin.hpp"
#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Rows of `from` in a new order: row order[r] of the result is row r of `from`.

}  // namespace

TEST_CASE("properties: ties go to the lowest index, true experts before nulls") {
    for (const auto& router : test::plain_router_cases()) {
        CAPTURE(router.name);
        for (Index E = 1; E <= 5; ++E) {
            RouterSize size{.features = 3, .experts = E, .nulls = 3, .slots = 1, .routers = 2};
            for (size.slots = 1; size.slots <= router.most_slots(size); ++size.slots) {
                auto made = router.make<float>(size, 1);
                auto batch = test::random_batch<float>(3, {2}, 1);
                for (float& value : batch.x.values()) value = 0;  // every logit is 0
                batch.x.data()[0] = -0.0f;
                const auto expert = test::decide(made, batch).expert;
                for (Index t = 0; t < 2; ++t) {
                    for (Index k = 0; k < size.slots; ++k) {
                        const std::int32_t got = expert.matrix()(t, k);
                        if (got != kDropped) CHECK(got == (k < E ? k : kNull));
                    }
                }
            }
        }
    }
}

TEST_CASE("properties: a whole number added to every logit changes no bit of choice and weights") {
    // Eighths and small numbers: sums of logits and the shift are exact.
    for (std::uint64_t seed = 0; seed < 500; ++seed) {
        Random random(seed);
        const RouterSize size{.features = 4, .experts = 5, .nulls = 3, .slots = 3};
        auto nulls =
            BuiltinNullExpert<NullWeights::over_true, NullMap::zero, GateTraining::full>::make<float>(size,
                                                                                                      seed);
        auto plain = BuiltinTopK<TopKWeights::raw, GateTraining::full>::make<float>(size, seed);
        auto batch = test::random_batch<float>(4, {6}, seed);
        for (float& value : batch.x.values()) value = std::round(value * 8) / 8;
        for (auto* router : {&nulls, &plain}) {
            for (auto* parameter : router->parameters()) {
                for (float& value : parameter->value().values()) value = std::round(value * 8) / 8;
            }
            const auto shift_by = [&](float shift) {
                for (auto* parameter : router->parameters()) {
                    for (Index r = 0; r < parameter->shape()[0]; ++r)
                        parameter->value().matrix()(r, 3) = shift;
                }
                for (Index t = 0; t < 6; ++t) batch.x.matrix()(t, 3) = 1;
                return test::decide(*router, batch);
            };
            const auto a = shift_by(0), b = shift_by(static_cast<float>(1 + random.next_below(60)));
            CHECK(test::same_values(a.expert, b.expert));
            CHECK(test::same_values(a.weight, b.weight));
        }
    }
}

TEST_CASE("properties: no gradient to what was not chosen, to the bit; raw weights reach every logit") {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        const Index C = 6, K = 1 + static_cast<Index>(seed % 4);
        AnyRouter<double> renormalized = TopKRouter<double>{.gate = test::unit_gate(C), .k = K};
        AnyRouter<double> raw =
            TopKRouter<double>{.gate = test::unit_gate(C), .k = K, .weights = TopKWeights::raw};
        AnyRouter<double> nulls = test::null_router_on_logits(4, 2, K);
        const auto batch = test::random_batch<double>(C, {4}, seed);
        const auto dweight = test::random_batch<double>(K, {4}, seed + 1).x;
        for (auto* router : {&renormalized, &nulls}) {
            const auto outcome = test::decide(*router, batch);
            const auto dz = test::task_gradient(*router, batch, dweight);
            for (Index t = 0; t < 4; ++t) {
                for (Index c = 0; c < C; ++c) {
                    const auto* row = outcome.expert.matrix().row(t);
                    if (std::find(row, row + K, static_cast<std::int32_t>(c)) == row + K) {
                        CHECK(dz.matrix()(t, c) == 0.0);
                    } else if (K == 1) {
                        CHECK(dz.matrix()(t, c) ==
                              0.0);  // one renormalised weight is 1 whatever the logit is
                    }
                }
            }
        }
        const auto dz = test::task_gradient(raw, batch, dweight);
        for (double value : dz.values()) CHECK(value != 0.0);
    }
}

TEST_CASE("properties: frozen weights hold no gradient") {
    for (const auto& router : test::plain_router_cases()) {
        CAPTURE(router.name);
        auto made =
            router.make<float>({.features = 5, .experts = 4, .nulls = 2, .slots = 2, .routers = 2}, 1);
        test::decide_and_learn(made, test::random_batch<float>(5, {6}, 1));
        for (auto* parameter : made.parameters())
            CHECK(parameter->gradients().empty() != parameter->trainable());
    }
}

TEST_CASE("properties: K = E is the dense mixture") {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        const Index E = 1 + static_cast<Index>(seed % 7);
        AnyRouter<double> router = TopKRouter<double>{.gate = test::unit_gate(E), .k = E};
        const auto batch = test::random_batch<double>(E, {3}, seed);
        const auto outcome = test::decide(router, batch);
        for (Index t = 0; t < 3; ++t) {
            double sum = 0;
            for (Index e = 0; e < E; ++e) sum += std::exp(batch.x.matrix()(t, e));
            for (Index k = 0; k < E; ++k) {
                const double want = std::exp(batch.x.matrix()(t, outcome.expert.matrix()(t, k))) / sum;
                CHECK(outcome.weight.matrix()(t, k) == doctest::Approx(want).epsilon(1e-13));
            }
        }
    }
}

TEST_CASE("properties: logits far below zero are routed like any others") {
    AnyRouter<float> router = BuiltinTopK<TopKWeights::renormalized, GateTraining::full>::make<float>(
        {.features = 4, .experts = 4, .slots = 2}, 0);
    auto* weight = router.parameters()[0];
    for (Index e = 0; e < 4; ++e) {
        for (Index d = 0; d < 4; ++d) weight->value().matrix()(e, d) = e == d ? 1.0f : 0.0f;
    }
    auto batch = test::random_batch<float>(4, {2}, 0);
    const float logits[] = {-300, -200, -250, -201, -1e30f, -3e38f, -2e30f, -1e30f};
    std::copy(std::begin(logits), std::end(logits), batch.x.data());
    const auto outcome = test::decide(router, batch);
    CHECK(std::vector<std::int32_t>(outcome.expert.values().begin(), outcome.expert.values().end()) ==
          std::vector<std::int32_t>{1, 3, 0, 3});
    CHECK(outcome.weight.data()[0] == doctest::Approx(1 / (1 + std::exp(-1.0))).epsilon(1e-6));
    CHECK(outcome.weight.data()[2] == 0.5f);
}

TEST_CASE("properties: a sequence penalty over two micro-batches is that of one, a micro penalty is not") {
    for (BalanceOptions::Scope scope : {BalanceOptions::Scope::sequence, BalanceOptions::Scope::micro}) {
        int different = 0;
        for (std::uint64_t seed = 0; seed < 50; ++seed) {
            const RouterSize size{.features = 5, .experts = 4, .nulls = 4, .slots = 3};
            auto router =
                BuiltinNullExpert<NullWeights::over_true, NullMap::zero, GateTraining::full>::make<float>(
                    size, seed, {.balance = BalanceLoss::adamoe_eq6, .scope = scope});
            const auto batch = test::random_batch<float>(5, {4, 7}, seed);
            const auto whole = test::decide(router, batch).penalties[0];
            CHECK(whole.unit ==
                  (scope == BalanceOptions::Scope::micro ? PenaltyUnit::batch : PenaltyUnit::sequence));
            double sum = 0, parts = 0;
            for (float value : whole.value.values()) sum += static_cast<double>(value);
            for (Index s : {0, 1}) {
                parts += static_cast<double>(
                    test::decide(router, test::segments_of(batch, s, s + 1)).penalties[0].value.data()[0]);
            }
            different += sum * (scope == BalanceOptions::Scope::micro ? 2 : 1) != parts;
        }
        CHECK((scope == BalanceOptions::Scope::micro ? different > 40 : different == 0));
    }
}

TEST_CASE("properties: top-k vectors of an independent autograd, renormalised and raw") {
    for (TopKWeights weights : {TopKWeights::renormalized, TopKWeights::raw}) {
        const std::string key = weights == TopKWeights::raw ? "topk_raw" : "topk_renormalised";
        const auto batch = test::batch_of(test::golden(key + ".logits"));
        const Index C = batch.x.extent(1);
        AnyRouter<double> router = TopKRouter<double>{.gate = test::unit_gate(C), .k = 2, .weights = weights};
        const auto outcome = test::decide(router, batch);
        CHECK(test::same_values(outcome.expert, test::golden_choice(key + ".expert")));
        CHECK(test::largest_difference(outcome.weight, test::golden(key + ".weight")) <= 1e-14);
        CHECK(test::largest_difference(test::task_gradient(router, batch, test::golden(key + ".dweight")),
                                       test::golden(key + ".dlogits")) <= 1e-14);
    }
}
