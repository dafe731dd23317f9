// What is special about expert choice: numbers of a reference, the same load for every expert, the gradient at the chosen
// pairs alone, groups, and that a later token changes the routing of an earlier one.

#include <moegrad/routing/expert_choice_router.hpp>
#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Logits are the features themselves.
ExpertChoiceRouter<double> expert_choice_on_logits(Index E, double capacity, ChoiceGroup group) {
    ExpertChoiceRouter<double> router;
    router.gate = test::unit_gate(E);
    router.capacity = capacity;
    router.group = group;
    router.check();
    return router;
}

AnyRouter<double> made_expert_choice(const std::string& options) {
    return ExpertChoiceRouter<double>::make(
        {.path = "r",
         .experts = 4,
         .features = 6,
         .gate = detail::random_gate<double>("g", 4, {.features = 6, .experts = 4}, GateTraining::full, 1, 0),
         .options = RouterOptions(options)});
}

}  // namespace

TEST_CASE("expert_choice golden: choice, weights and the gradient of a reference") {
    // numpy: p = softmax(z), C = ceil(6 * 1.5 / 3) = 3, a stable sort of every column, dz = p (g - sum_S g p) over the
    // chosen pairs S.
    const auto z = Tensor<double>::from({6, 3}, {1, 2, -1, 0.5, 0.25, 3, 2, -1, 0,  //
                                                 0, 0, 0, -1, 1.5, 1, 3, 2.5, -2});
    const std::vector<std::int32_t> experts{-1, 1, -1, -1, -1, 2, 0, -1, -1, 0, -1, 2, -1, 1, 2, 0, 1, -1};
    const std::vector<double> weights{0,
                                      0.7053845126982412,
                                      0,
                                      0,
                                      0,
                                      0.8725905572715923,
                                      0.8437947344813395,
                                      0,
                                      0,
                                      0.3333333333333333,
                                      0,
                                      0.3333333333333333,
                                      0,
                                      0.5922010701861592,
                                      0.3591881057825387,
                                      0.6198595793903611,
                                      0.37596383961683116,
                                      0};
    const std::vector<double> gradient{0.10982687053533345,   -0.12469032116622358,  0.014863450630890148,
                                       0.012500138035702836,  0.00973511729070602,   -0.022235255326408857,
                                       -0.013180518054290513, 0.0035447872599137726, 0.009635730794376738,
                                       9.25185853854297e-18,  -0.06666666666666668,  0.0666666666666667,
                                       -0.029494730071413216, -0.003998728855875025, 0.033493458927288076,
                                       -0.021233363759094164, 0.024717697832961443,  -0.0034843340738672096};
    AnyRouter<double> router(expert_choice_on_logits(3, 1.5, ChoiceGroup::batch));
    const auto batch = test::batch_of(z);
    const auto got = test::decide(router, batch);
    CHECK(std::vector<std::int32_t>(got.expert.values().begin(), got.expert.values().end()) == experts);
    auto dweight = Tensor<double>::zeros({6, 3});
    for (Index i = 0; i < 18; ++i) dweight.data()[i] = 0.1 * static_cast<double>(i) - 0.7;
    const auto dz = test::task_gradient(router, batch, dweight);
    for (std::size_t i = 0; i < 18; ++i) {
        CHECK(got.weight.values()[i] == doctest::Approx(weights[i]).epsilon(1e-14));
        CHECK(std::abs(dz.values()[i] - gradient[i]) <= 1e-15);
    }
    CHECK(got.stats.load() == 1.5);
}

TEST_CASE("expert_choice: every expert gets C tokens; a token may get none; P alone at chosen pairs learns") {
    AnyRouter<double> router(expert_choice_on_logits(5, 1, ChoiceGroup::batch));
    const auto batch = test::random_batch<double>(5, {17, 14}, 3);
    const auto got = test::decide(router, batch);
    std::vector<Index> load(5, 0);
    Index without = 0;
    for (Index t = 0; t < 31; ++t) {
        Index used = 0;
        for (Index e = 0; e < 5; ++e) {
            if (got.expert.matrix()(t, e) < 0) continue;
            ++used;
            ++load[static_cast<std::size_t>(e)];
        }
        without += used == 0;
    }
    CHECK(load == std::vector<Index>(5, 7));  // ceil(31 / 5)
    CHECK(without > 0);
    CHECK(got.stats.experts_per_token()[0] == without);
    // Gradients of weights that belong to no pair reach nothing.
    auto dweight = Tensor<double>::zeros({31, 5});
    for (Index t = 0; t < 31; ++t) {
        for (Index e = 0; e < 5; ++e) dweight.matrix()(t, e) = got.expert.matrix()(t, e) < 0 ? 1e9 : 0;
    }
    const auto dx = test::task_gradient(router, batch, dweight);
    CHECK(std::all_of(dx.values().begin(), dx.values().end(), [](double g) { return g == 0; }));
}

TEST_CASE("expert_choice: groups, and not causal") {
    auto batch = test::random_batch<double>(4, {6, 8}, 5);
    AnyRouter<double> by_batch(expert_choice_on_logits(4, 1, ChoiceGroup::batch));
    AnyRouter<double> by_sequence(expert_choice_on_logits(4, 1, ChoiceGroup::segment));
    CHECK(by_batch.scope() == RouterScope::batch);
    CHECK(by_sequence.scope() == RouterScope::sequence);
    const auto sequence = test::decide(by_sequence, batch), whole = test::decide(by_batch, batch);
    const auto tokens_of = [](const test::Outcome<double>& outcome, Index from, Index to) {
        Index used = 0;
        for (Index t = from; t < to; ++t) used += outcome.expert.matrix()(t, 0) == 0;
        return used;
    };
    CHECK(tokens_of(sequence, 0, 6) == 2);   // ceil(6 / 4)
    CHECK(tokens_of(sequence, 6, 14) == 2);  // 8 / 4
    CHECK(tokens_of(whole, 0, 14) == 4);     // ceil(14 / 4)
    // The last token of the first sequence takes a place in every expert: who loses one comes before it.
    const auto before = test::decide(by_sequence, batch);
    Index taken = 0;
    for (Index e = 0; e < 4; ++e) {
        for (Index d = 0; d < 4; ++d) batch.x.matrix()(5, d) = d == e ? 40 : 0;
        const auto after = test::decide(by_sequence, batch);
        CHECK(after.expert.matrix()(5, e) == e);
        for (Index t = 0; t < 5; ++t) taken += before.expert.matrix()(t, e) != after.expert.matrix()(t, e);
        for (Index t = 6; t < 14; ++t) CHECK(after.expert.matrix()(t, e) == before.expert.matrix()(t, e));
    }
    CHECK(taken > 0);
    CHECK(by_sequence.caution().find("not causal") != std::string::npos);
}

TEST_CASE("expert_choice: eval = top_k gives each token its own best experts, in evaluation alone") {
    auto router = expert_choice_on_logits(3, 1, ChoiceGroup::batch);
    router.eval_top_k = true;
    router.k = 2;
    AnyRouter<double> any(std::move(router));
    const auto batch = test::batch_of(Tensor<double>::from({3, 3}, {1, 2, -1, 3, 0, 0, 3, 1, 2}));
    const auto judged = test::decide(any, batch), trained = test::decide_and_learn(any, batch);
    using Experts = std::vector<std::int32_t>;
    CHECK(Experts(judged.expert.values().begin(), judged.expert.values().end()) ==
          Experts{1, 0, -1, 0, 1, -1, 0, 2, -1});
    CHECK(judged.weight.matrix()(0, 0) ==
          doctest::Approx(std::exp(2.0) / (std::exp(1) + std::exp(2) + std::exp(-1))));
    CHECK(Experts(trained.expert.values().begin(), trained.expert.values().end()) ==
          Experts{-1, 1, -1, 0, -1, -1, -1, -1, 2});
}

TEST_CASE("expert_choice: options") {
    CHECK(made_expert_choice("").get<ExpertChoiceRouter<double>>()->capacity == 2);
    CHECK(made_expert_choice("").scope() == RouterScope::batch);
    CHECK(made_expert_choice("group=sequence, capacity=1.25").scope() == RouterScope::sequence);
    CHECK_THROWS_WITH_AS(made_expert_choice("capacity=5"), doctest::Contains("up to 4"), Error);
    CHECK_THROWS_AS(made_expert_choice("capacity=0"), Error);
    CHECK_THROWS_WITH_AS(made_expert_choice("group=token"), doctest::Contains("batch or sequence"), Error);
    CHECK_THROWS_WITH_AS(made_expert_choice("eval=all"), doctest::Contains("same or top_k"), Error);
    CHECK(made_expert_choice("eval=top_k").get<ExpertChoiceRouter<double>>()->eval_top_k);
}
