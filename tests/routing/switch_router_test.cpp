// switch: raw weights and their gradient, jitter on the router's input, and who keeps a place.

#include "support/routing_golden.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Logits are the features themselves.
SwitchRouter<double> switch_router(Index E, const std::string& options, Index top_k = 2) {
    return SwitchRouter<double>::make(test::build_on_logits(E, options, top_k));
}

}  // namespace

TEST_CASE("switch golden: weights and their gradient over all logits, by PyTorch") {
    // torch, float64: softmax, gather at the argmax; autograd. The balance loss is gshard's.
    AnyRouter<double> router = switch_router(4, "jitter=0");
    const auto batch = test::batch_of(test::capacity_logits());
    const auto got = test::decide(router, batch);
    const std::vector<double> w{0.50667459257895,  0.372157073620556, 0.478478109735119,
                                0.315169372778026, 0.327178103875486, 0.598220780577675};
    const std::vector<double> dz{
        0.249955449813905,   -0.0572817834383322,  -0.115351346487679,  -0.0773223198878939,
        0.0311162301426722,  -0.11682809308737,    0.0230514702486173,  0.0626603926960806,
        0.0623842020598566,  -0.00774595897061956, -0.0517886640317886, -0.00284957905744844,
        -0.0892652498685605, -0.179758138605842,   0.431675278481463,   -0.16265189000706,
        0.0660397776659783,  -0.029057635313626,   -0.0106897066409403, -0.0262924357114119,
        0.0798511669815523,  0.088249187522414,    0.072252323758746,   -0.240352678262712};
    for (std::size_t t = 0; t < 6; ++t) CHECK(std::abs(got.weight.values()[t] - w[t]) < 1e-12);
    CHECK(router.slots() == 1);
    CHECK(std::abs(test::penalty_value(got, "balance").data()[0] - 1.05658835220769) < 1e-12);
    const auto dx =
        test::task_gradient(router, batch, Tensor<double>::from({6, 1}, {1, -.5, .25, 2, .3, -1}));
    for (std::size_t i = 0; i < 24; ++i) CHECK(std::abs(dx.values()[i] - dz[i]) < 1e-12);
}

TEST_CASE("switch: uniform probabilities cost 1, one expert for all E") {
    AnyRouter<double> router = switch_router(4, "");
    const auto uniform = test::batch_of(Tensor<double>::zeros({5, 4}));
    CHECK(test::penalty_value(test::decide(router, uniform), "balance").data()[0] == doctest::Approx(1));
    auto one = Tensor<double>::zeros({5, 4});
    for (Index t = 0; t < 5; ++t) one.matrix()(t, 2) = 60;
    CHECK(test::penalty_value(test::decide(router, test::batch_of(one)), "balance").data()[0] ==
          doctest::Approx(4));
}

TEST_CASE("switch: jitter is in training only, and small") {
    const auto batch = test::random_batch<double>(4, {300}, 1);
    AnyRouter<double> jittered = switch_router(4, "jitter=0.01"), plain = switch_router(4, "jitter=0");
    const auto want = test::decide(plain, batch);
    CHECK(test::same_values(test::decide(jittered, batch).weight, want.weight));
    const auto trained = test::decide_and_learn(jittered, batch);
    CHECK(test::same_values(test::decide_and_learn(plain, batch).weight, want.weight));
    CHECK_FALSE(test::same_values(trained.weight, want.weight));
    CHECK(test::largest_difference(trained.weight, want.weight) < 0.03);
    test::routing_context().scalars().step = 1;
    CHECK_FALSE(test::same_values(test::decide_and_learn(jittered, batch).weight, trained.weight));
    test::routing_context().scalars().step = 0;
    CHECK_THROWS_AS(switch_router(4, "jitter=1"), Error);
}

TEST_CASE("switch: in token order the first ones keep their place, by priority the most probable ones") {
    // Expert 0 for all six, C = floor(6 1.0 / 2) = 3.
    auto z = Tensor<double>::zeros({6, 2});
    const double first[] = {0.2, 1.5, 0.1, 0.9, 1.5, 2.0};
    for (Index t = 0; t < 6; ++t) z.matrix()(t, 0) = first[t];
    const auto kept = [&](const std::string& order) {
        AnyRouter<double> router = switch_router(2, "capacity=1, min_capacity=1, " + order);
        std::vector<Index> tokens;
        const auto got = test::decide(router, test::batch_of(z));
        for (Index t = 0; t < 6; ++t) {
            if (got.expert.data()[t] == 0) tokens.push_back(t);
            CHECK((got.weight.data()[t] > 0) == (got.expert.data()[t] == 0));
        }
        return tokens;
    };
    CHECK(kept("capacity_order=token") == std::vector<Index>{0, 1, 2});
    CHECK(kept("capacity_order=priority") == std::vector<Index>{1, 4, 5});
}

TEST_CASE("switch: a dropped token has no gradient; an expert without a token breaks nothing") {
    AnyRouter<double> router = switch_router(3, "jitter=0, capacity=0.01, min_capacity=1");
    auto z = Tensor<double>::zeros({4, 3});
    for (Index t = 0; t < 4; ++t) z.matrix()(t, 1) = 2;
    const auto dx =
        test::task_gradient(router, test::batch_of(z), Tensor<double>::from({4, 1}, {1, 1, 1, 1}));
    for (Index t = 0; t < 4; ++t) {
        const bool kept = t == 0;
        for (Index e = 0; e < 3; ++e) CHECK((dx.matrix()(t, e) != 0) == kept);
    }
}
