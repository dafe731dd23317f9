// top_p (Dynamic MoE), alone and over null experts: what is special about it.

#include <moegrad/routing/top_p_router.hpp>
#include <moegrad/testing/router_scope.hpp>
#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Logits are the features: E true ones, then M of nulls.
TopPRouter<double> top_p_on_logits(Index E, TopPOptions prefix, SlotWeights weights = SlotWeights::over_true,
                                   Index M = 0, NullMap map = NullMap::zero) {
    TopPRouter<double> router;
    router.gate = test::gate_of(test::unit_rows(0, E, E + M));
    if (M > 0) router.gate2 = test::gate_of(test::unit_rows(E, E + M, E + M));
    router.prefix = prefix;
    router.weights = weights;
    router.null_map = map;
    return router;
}

/// methods.md 13 and 4: four columns.
Tensor<double> top_p_golden_logits() {
    return Tensor<double>::from({3, 4}, {1, .5, 0, -.5, 2, 1, 0, -1, 4, 1, 0, -1});
}
/// methods.md 2: two true columns, two nulls.
Tensor<double> top_p_null_logits() {
    return Tensor<double>::from({3, 4}, {2, 1, 0, -1, 1, -1, 0, -2, -1, -2, 1, 0});
}

void check_top_p_experts(const Tensor<std::int32_t>& got, const std::vector<std::int32_t>& want) {
    CHECK(std::vector<std::int32_t>(got.values().begin(), got.values().end()) == want);
}

}  // namespace

TEST_CASE("top_p golden: Dynamic MoE's prefixes with p = 0.8, raw weights") {
    const auto batch = test::batch_of(top_p_golden_logits());
    const auto got = test::decided(top_p_on_logits(4, {.p = 0.8}, SlotWeights::raw), batch);
    check_top_p_experts(got.expert, {0, 1, 2, -1, 0, 1, -1, -1, 0, -1, -1, -1});
    const std::vector<double> p{.455054, .276004, .167405, 0, .643914, .236883, 0, 0, .930370, 0, 0, 0};
    for (std::size_t i = 0; i < p.size(); ++i) CHECK(std::abs(got.weight.values()[i] - p[i]) < 1e-6);
    const auto ours = test::decided(top_p_on_logits(4, {.p = 0.8}), batch);
    CHECK(test::same_values(ours.expert, got.expert));
    for (Index t = 0; t < 3; ++t) {
        double sum = 0, of_raw = 0;
        for (Index k = 0; k < 4; ++k) of_raw += got.weight.matrix()(t, k);
        for (Index k = 0; k < 4; ++k) {
            sum += ours.weight.matrix()(t, k);
            CHECK(std::abs(ours.weight.matrix()(t, k) - got.weight.matrix()(t, k) / of_raw) < 1e-15);
        }
        CHECK(std::abs(sum - 1) < 1e-15);
    }
    CHECK(got.stats.load() == 2);
}

TEST_CASE("top_p golden: the dynamic loss and its gradient, with PyTorch in double; padding adds nothing") {
    auto batch = test::batch_of(top_p_golden_logits());
    AnyRouter<double> router = top_p_on_logits(4, {});
    const std::vector<double> want{1.2450504274673975, 0.9475369639754256, 0.310638928297408};
    const std::vector<double> dz{-0.208283672379233, 0.0116717391377508, 0.0907818162784354,
                                 0.105830116963046,  -0.326688138915391, 0.116700968108378,
                                 0.130076205673909,  0.0799109651331042, -0.221862194512196,
                                 0.127915385695933,  0.0640977700886481, 0.0298490387276153};
    const auto loss = test::penalty_value(test::decide(router, batch), "entropy");
    const auto gradient = test::penalty_gradient(router, batch, "entropy");
    for (std::size_t t = 0; t < 3; ++t) CHECK(std::abs(loss.values()[t] - want[t]) < 1e-14);
    for (std::size_t i = 0; i < 12; ++i) CHECK(std::abs(gradient.values()[i] - dz[i]) < 1e-13);
    batch.segments.valid.data()[1] = 0;
    CHECK(test::penalty_value(test::decide(router, batch), "entropy").data()[1] == 0);
    const auto padded = test::penalty_gradient(router, batch, "entropy");
    for (std::size_t i = 4; i < 8; ++i) CHECK(padded.values()[i] == 0);
    bool found = false;
    for (const auto& [name, value] : router.coefficients()) {
        if (name == "entropy") CHECK(value == 1e-4);
        if (name == "balance") CHECK(value == 1e-2);
        found = found || name == "entropy";
    }
    CHECK(found);
}

TEST_CASE("top_p: p = 1 is the dense softmax, to the bit; p = 0 is top-1; at_most is top-K") {
    const auto batch = test::random_batch<double>(7, {40}, 1);
    const auto p = test::softmax_of(batch.x);
    const auto dense = test::decided(top_p_on_logits(7, {.p = 1}, SlotWeights::raw), batch);
    for (Index t = 0; t < 40; ++t) {
        for (Index k = 0; k < 7; ++k) {
            CHECK(dense.weight.matrix()(t, k) == p.matrix()(t, dense.expert.matrix()(t, k)));
            if (k > 0) CHECK(dense.weight.matrix()(t, k) <= dense.weight.matrix()(t, k - 1));
        }
    }
    CHECK(dense.stats.load() == 7);
    for (Index K : {1, 2, 3, 7}) {
        TopKRouter<double> plain{.gate = test::unit_gate(7), .k = K};
        const auto want = test::decided(std::move(plain), batch);
        const auto cut = test::decided(top_p_on_logits(7, {.p = 1, .at_most = K}), batch);
        CHECK(test::same_values(cut.expert, want.expert));
        CHECK(test::same_values(cut.weight, want.weight));
    }
    const auto first = test::decided(top_p_on_logits(7, {.p = 0}), batch);
    for (Index t = 0; t < 40; ++t) {
        CHECK(first.expert.matrix()(t, 0) == dense.expert.matrix()(t, 0));
        CHECK(first.weight.matrix()(t, 0) == 1);
    }
    CHECK(first.stats.load() == 1);
}

TEST_CASE("top_p: raw weights send every logit its share of the gradient (1a), the mask constant") {
    const auto batch = test::batch_of(top_p_golden_logits());
    const auto p = test::softmax_of(batch.x);
    AnyRouter<double> router = top_p_on_logits(4, {.p = 0.8}, SlotWeights::raw);
    const auto choice = test::decide(router, batch).expert;
    const auto g = test::random_batch<double>(4, {3}, 5).x;
    const auto dz = test::task_gradient(router, batch, g);
    for (Index t = 0; t < 3; ++t) {
        double mean = 0;
        std::vector<double> of(4, 0);
        for (Index k = 0; k < 4; ++k) {
            const std::int32_t e = choice.matrix()(t, k);
            if (e < 0) continue;
            mean += p.matrix()(t, e) * g.matrix()(t, k);
            of[static_cast<std::size_t>(e)] = g.matrix()(t, k);
        }
        for (Index j = 0; j < 4; ++j) {
            const double want = p.matrix()(t, j) * (of[static_cast<std::size_t>(j)] - mean);
            CHECK(std::abs(dz.matrix()(t, j) - want) < 1e-15);
            CHECK(dz.matrix()(t, j) != 0);
        }
    }
}

TEST_CASE("top_p null golden: with p = 1 and at_most = 2 it is AdaMoE (methods.md 2), loss and gradient") {
    auto made = top_p_on_logits(2, {.p = 1, .at_most = 2}, SlotWeights::over_true, 2);
    made.penalties = {.balance = BalanceLoss::adamoe_eq6, .scope = BalanceOptions::Scope::micro};
    AnyRouter<double> router = std::move(made);
    const auto batch = test::batch_of(top_p_null_logits());
    const auto got = test::decide(router, batch);
    check_top_p_experts(got.expert, {0, 1, 0, kNull, kNull, kNull});
    const std::vector<double> weights{.731059, .268941, 1, 0, 0, 0};
    for (std::size_t i = 0; i < 6; ++i) CHECK(std::abs(got.weight.values()[i] - weights[i]) < 1e-6);
    CHECK(got.stats.load() == 1);
    CHECK(std::abs(test::penalty_value(got, "balance").data()[0] - 2.226419) < 1e-6);
    const std::vector<double> dz{.084849,  -.074067, -.007882, -.002900, .063423,  -.030147,
                                 -.029309, -.003967, .018299,  -.007517, -.007882, -.002900};
    const auto gradient = test::penalty_gradient(router, batch, "balance");
    for (std::size_t i = 0; i < 12; ++i) CHECK(std::abs(gradient.values()[i] - dz[i]) < 1e-6);
}

TEST_CASE("top_p null: p = 0.8 takes {0, 1}, {0, null}, {null, null}: a token can skip the block") {
    const auto batch = test::batch_of(top_p_null_logits());
    const TopPOptions prefix{.p = 0.8};
    const std::vector<std::int32_t> want{0, 1, -1, -1, 0, kNull, -1, -1, kNull, kNull, -1, -1};
    AnyRouter<double> over_true = top_p_on_logits(2, prefix, SlotWeights::over_true, 2);
    const auto got = test::decide(over_true, batch);
    check_top_p_experts(got.expert, want);
    CHECK(got.weight.matrix()(1, 0) == 1);
    CHECK(got.stats.all_null_tokens() == 1);
    const auto dz = test::task_gradient(over_true, batch, test::random_batch<double>(4, {3}, 5).x);
    for (Index t = 0; t < 3; ++t) {
        for (Index c : {2, 3}) CHECK(dz.matrix()(t, c) == 0);  // nulls have no task gradient
    }
    CHECK(dz.matrix()(0, 0) != 0);
    // e^0 over e^1 + e^0 for token 1: the identity takes what the null slots hold.
    const auto all =
        test::decided(top_p_on_logits(2, prefix, SlotWeights::over_all, 2, NullMap::identity), batch);
    check_top_p_experts(all.expert, want);
    CHECK(all.passthrough.data()[0] == 0);
    CHECK(std::abs(all.passthrough.data()[1] - .268941) < 1e-6);
    CHECK(std::abs(all.weight.matrix()(1, 0) - .731059) < 1e-6);
    CHECK(std::abs(all.passthrough.data()[2] - 1) < 1e-15);
    const auto raw = test::decided(top_p_on_logits(2, prefix, SlotWeights::raw, 2, NullMap::identity), batch);
    CHECK(std::abs(raw.weight.matrix()(1, 0) - .643914) < 1e-6);
    CHECK(std::abs(raw.passthrough.data()[2] - .880797) < 1e-6);
}

TEST_CASE("top_p: options are read, and refused where they say nothing") {
    const auto make = [](const std::string& options) {
        return TopPRouter<double>::make(test::build_on_logits(4, options));
    };
    const auto usual = make("");
    CHECK(usual.prefix.p == 0.4);
    CHECK(usual.weights == SlotWeights::over_true);
    CHECK(usual.penalties.balance == BalanceLoss::adamoe_eq3);
    const auto given =
        make("p=0.8, keep=2, crossing=false, at_most=3, weights=all, nulls=8, null_map=identity");
    CHECK(given.prefix.p == 0.8);
    CHECK(given.prefix.keep == 2);
    CHECK_FALSE(given.prefix.crossing);
    CHECK(given.slots() == 3);
    CHECK(given.gate2.columns() == 8);
    CHECK(given.penalties.balance == BalanceLoss::adamoe_eq6);
    CHECK_THROWS_AS(make("p=-1"), Error);
    CHECK_THROWS_WITH_AS(make("weights=some"), doctest::Contains("true, all or raw"), Error);
    CHECK_THROWS_AS(make("nulls=4, null_map=one"), Error);
    CHECK_THROWS_AS(make("nulls=4, null_map=identity"), Error);  // nulls have no weight
}
