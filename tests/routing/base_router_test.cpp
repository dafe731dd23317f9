// What is special about BASE: numbers of a reference, balance in training and none at inference, orthogonal embeddings,
// the sigmoid as the only way for the gradient.

#include <moegrad/routing/base_router.hpp>
#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

BaseRouter<double> base_made(const std::string& options, Index E, Index D) {
    const RouterSize size{.features = D, .experts = E};
    return BaseRouter<double>::make(
        {.path = "r",
         .experts = E,
         .features = D,
         .seed = 3,
         .gate = detail::random_gate<double>("g", E, size, GateTraining::full, 1, 0),
         .options = RouterOptions(options)});
}

AnyRouter<double> base_of(const Tensor<double>& embeddings) {
    BaseRouter<double> router;
    router.embeddings = test::gate_of(embeddings);
    return router;
}

std::vector<std::int32_t> base_experts(const test::Outcome<double>& outcome) {
    return {outcome.expert.values().begin(), outcome.expert.values().end()};
}

}  // namespace

TEST_CASE("base golden: assignment, weights and gradients of a reference") {
    // numpy: the best of all assignments of 3 tokens each (sum 3.55, the next has 3.18: further than 6 eps = 0.24),
    // b = sigmoid(<x, w>), gradients of sum_t g_t b_t.
    const auto x = Tensor<double>::from(
        {6, 3}, {1, .5, -1, .2, -.3, .4, -1, 2, .1, .7, .6, .9, 1.5, -1, .3, -.4, -.8, 1.2});
    AnyRouter<double> router = base_of(Tensor<double>::from({2, 3}, {.3, -.2, .5, -.1, .6, .2}));
    const auto batch = test::batch_of(x);
    const auto trained = test::decide_and_learn(router, batch);
    CHECK(base_experts(trained) == std::vector<std::int32_t>{1, 0, 1, 1, 0, 0});
    const std::vector<double> weight{0.5,
                                     0.5793242521487495,
                                     0.789181706522253,
                                     0.6153837563911821,
                                     0.6899744811276125,
                                     0.6547534606063192};
    const std::vector<double> dx{-0.0125,
                                 0.075,
                                 0.025,
                                 -0.07311229890631248,
                                 0.048741532604208326,
                                 -0.1218538315105208,
                                 -0.03327478812257552,
                                 0.19964872873545308,
                                 0.06654957624515104,
                                 -0.005917164719026508,
                                 0.035502988314159045,
                                 0.011834329438053017,
                                 -0.04812968171706623,
                                 0.03208645447804416,
                                 -0.0802161361951104,
                                 0.06781540992911052,
                                 -0.04521027328607369,
                                 0.1130256832151842};
    const std::vector<double> dw{-0.3798104877616869, 0.05270347815223854, 0.12564889279095917,
                                 -0.1663277281925696, 0.7634987507656694,  -0.038470729406185906};
    const auto got =
        test::task_gradient(router, batch, Tensor<double>::from({6, 1}, {.5, -1, 2, .25, -.75, 1}));
    for (std::size_t i = 0; i < 6; ++i) {
        CHECK(trained.weight.values()[i] == doctest::Approx(weight[i]).epsilon(1e-14));
        CHECK(test::parameter_gradients(router)[0].values()[i] == doctest::Approx(dw[i]).epsilon(1e-13));
    }
    for (std::size_t i = 0; i < 18; ++i) CHECK(std::abs(got.values()[i] - dx[i]) <= 1e-15);

    // Inference: argmax alone; sigmoid(0.54) of token 3, which wanted expert 0 all the time.
    const auto judged = test::decide(router, batch);
    CHECK(base_experts(judged) == std::vector<std::int32_t>{1, 0, 1, 0, 0, 0});
    CHECK(judged.weight.values()[3] == doctest::Approx(0.6318124177361016).epsilon(1e-14));
}

TEST_CASE("base: balanced assignment gives every expert N / E tokens in training, whatever the tokens want") {
    auto w = Tensor<double>::zeros({4, 5});
    for (double& value : w.reshape({20}).values()) value = 0.1;
    for (Index d = 0; d < 5; ++d) w.matrix()(2, d) = 0.3;  // every token with a positive sum wants expert 2
    AnyRouter<double> router = base_of(w);
    auto batch = test::random_batch<double>(5, {13, 11}, 3);
    for (double& value : batch.x.values()) value = std::abs(value);
    std::vector<Index> load(4, 0), wanted(4, 0);
    for (const std::int32_t e : base_experts(test::decide_and_learn(router, batch)))
        ++load.at(static_cast<std::size_t>(e));
    for (const std::int32_t e : base_experts(test::decide(router, batch)))
        ++wanted.at(static_cast<std::size_t>(e));
    CHECK(load == std::vector<Index>{6, 6, 6, 6});
    CHECK(wanted == std::vector<Index>{0, 0, 24, 0});
}

TEST_CASE("base: embeddings are orthogonal rows of length 0.1") {
    for (const auto& [E, D] : {std::pair<Index, Index>{4, 16}, {8, 8}, {6, 3}, {1, 5}}) {
        auto router = base_made("", E, D);
        const auto w = router.embeddings.weight->value().matrix();
        const bool by_row = E <= D;
        const Index count = by_row ? E : D, length = by_row ? D : E;
        for (Index i = 0; i < count; ++i) {
            for (Index j = 0; j <= i; ++j) {
                double product = 0;
                for (Index k = 0; k < length; ++k) product += by_row ? w(i, k) * w(j, k) : w(k, i) * w(k, j);
                CHECK(std::abs(product - (i == j ? 0.01 : 0)) <= 1e-16);
            }
        }
    }
    CHECK(base_made("", 4, 8).embeddings.weight->name() == "r.embeddings");
    CHECK(base_made("embeddings=gate", 4, 8).embeddings.weight->name() == "g.weight");
    CHECK_THROWS_WITH_AS(base_made("embeddings=other", 4, 8), doctest::Contains("own or gate"), Error);
}

TEST_CASE("base: the first run of a checkpointed segment balances too") {
    AnyRouter<double> router(base_made("", 3, 6));
    const auto batch = test::random_batch<double>(6, {9}, 7);
    const auto want = base_experts(test::decide_and_learn(router, batch));
    Selections selections;
    Tape first(test::routing_context(), Mode::inference);
    first.set_selections(&selections);
    const auto routing = test::call_router(router, first, Var<double>(batch.x), batch.segments);
    CHECK(base_experts(test::detail::outcome_of(routing)) == want);
}
