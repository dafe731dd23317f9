// dense: LoRAMoE's routing and its localized balancing, methods.md 7.

#include "support/routing_golden.hpp"

#include <moegrad/routing/dense_router.hpp>
#include <moegrad/testing/router_scope.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

using Form = LocalBalanceOptions::Form;

DenseRouter<double> dense_on_logits(Index E, std::optional<LocalBalanceOptions> local = {}) {
    return {.gate = test::unit_gate(E), .local = local};
}

DenseRouter<double> dense_made(const std::string& options) {
    return DenseRouter<double>::make(test::build_on_logits(4, options));
}

}  // namespace

TEST_CASE("dense golden: localized balancing, the paper's form and the code's (methods.md 7)") {
    // Q = [[.4,.3,.2,.1],[.1,.2,.3,.4]], a token each; types 1 and 0; delta .1.
    auto batch = test::batch_of(Tensor<double>::from({2, 4}, {.4, .3, .2, .1, .1, .2, .3, .4}));
    for (double& value : batch.x.values()) value = std::log(value);
    batch.segments = Segments::of_lengths({1, 1});
    batch.segments.task = Tensor<std::int32_t>::from({2}, {1, 0});
    for (Form form : {Form::plain, Form::squared}) {
        AnyRouter<double> router = dense_on_logits(4, LocalBalanceOptions{form, 0.1, 2});
        const auto outcome = test::decide_and_learn(router, batch);
        const auto& penalty = outcome.penalties.at(0);
        CHECK(penalty.name == "local");
        CHECK(penalty.unit == PenaltyUnit::batch);
        const double want = form == Form::plain ? .069808 : .306847;
        CHECK(std::abs(penalty.value.data()[0] - want) < 1e-6);
        CHECK(router.coefficients().at(0) == PenaltyCoefficient{"local", 0.1});
    }
}

TEST_CASE("dense: weights are the softmax, and top-k with k = E and raw weights to the bit") {
    const auto batch = test::random_batch<double>(6, {9, 4}, 1);
    AnyRouter<double> dense = dense_on_logits(6);
    AnyRouter<double> all =
        TopKRouter<double>{.gate = test::unit_gate(6), .k = 6, .weights = TopKWeights::raw};
    const auto got = test::decide_and_learn(dense, batch), want = test::decide_and_learn(all, batch);
    CHECK(test::same_values(got.expert, want.expert));
    CHECK(test::same_values(got.weight, want.weight));
    CHECK(test::same_values(got.dx, want.dx));
    CHECK(got.penalties.empty());
    CHECK(dense.coefficients().empty());
    for (Index t = 0; t < batch.tokens(); ++t) {
        double sum = 0;
        for (Index e = 0; e < 6; ++e) sum += std::exp(batch.x.matrix()(t, e));
        for (Index k = 0; k < 6; ++k) {
            const double w = std::exp(batch.x.matrix()(t, got.expert.matrix()(t, k))) / sum;
            CHECK(got.weight.matrix()(t, k) == doctest::Approx(w).epsilon(1e-13));
        }
    }
}

TEST_CASE("dense: a temperature divides the logits") {
    const auto batch = test::random_batch<double>(5, {7}, 2);
    auto halved = batch;
    halved.x = test::copy_of(batch.x);
    for (double& value : halved.x.values()) value *= 0.5;
    auto warm = dense_on_logits(5);
    warm.temperature = 2;
    AnyRouter<double> router = warm, plain = dense_on_logits(5);
    const auto got = test::decide_and_learn(router, batch), want = test::decide_and_learn(plain, halved);
    CHECK(test::same_values(got.weight, want.weight));
    for (Index i = 0; i < got.dx.size(); ++i)
        CHECK(got.dx.data()[i] == doctest::Approx(0.5 * want.dx.data()[i]).epsilon(1e-12));
}

TEST_CASE("dense: no task, no localized balancing: an error in training, nothing at all in evaluation") {
    auto batch = test::random_batch<double>(4, {3, 4}, 3);
    batch.segments.task = {};
    AnyRouter<double> plain = dense_on_logits(4);
    AnyRouter<double> local = dense_on_logits(4, LocalBalanceOptions{});
    CHECK(test::decide_and_learn(plain, batch).penalties.empty());
    CHECK(test::decide(local, batch).penalties.empty());
    CHECK_THROWS_WITH_AS(test::decide_and_learn(local, batch), doctest::Contains("a task for every sample"),
                         Error);
    batch.segments.task = Tensor<std::int32_t>::from({2}, {0, 5});
    CHECK_THROWS_WITH_AS(test::decide_and_learn(local, batch), doctest::Contains("5 for segment 1"), Error);
}

TEST_CASE("dense: padding is no part of Q (in the released code it is)") {
    const auto clean = test::random_batch<double>(4, {3, 4}, 4);
    auto padded = test::random_batch<double>(4, {5, 6}, 5);
    for (Index t = 0; t < 11; ++t) padded.segments.valid.data()[t] = 0;
    for (Index t = 0; t < 7; ++t) {
        const Index at = t < 3 ? t + 1 : t + 3;
        padded.segments.valid.data()[at] = 1;
        std::copy_n(clean.x.data() + 4 * t, 4, padded.x.data() + 4 * at);
    }
    AnyRouter<double> router = dense_on_logits(4, LocalBalanceOptions{});
    CHECK(test::same_values(test::penalty_value(test::decide(router, padded), "local"),
                            test::penalty_value(test::decide(router, clean), "local")));
}

TEST_CASE("dense: options") {
    CHECK_FALSE(dense_made("").local);
    CHECK(dense_made("").temperature == 1);
    CHECK(dense_made("lbc=cv2").local->form == Form::squared);
    const auto paper = dense_made("lbc=paper, delta=0.2, types=3");
    CHECK(paper.local->form == Form::plain);
    CHECK(paper.local->delta == 0.2);
    CHECK(paper.local->types == 3);
    for (const char* wrong : {"lbc=switch", "temperature=0", "lbc=cv2, delta=1", "lbc=cv2, types=0"}) {
        CAPTURE(wrong);
        CHECK_THROWS_AS(dense_made(wrong), Error);
    }
}
