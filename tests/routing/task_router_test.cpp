// task: MOELoRA's gate. What is special: the weights of a token are its sample's task's, and nothing else's.

#include "support/routing_golden.hpp"

#include <moegrad/routing/task_router.hpp>
#include <moegrad/testing/router_scope.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

TaskRouter<double> task_made(const std::string& options, Index experts = 3) {
    RouterBuild<double> build;
    build.path = "layer.router";
    build.experts = experts;
    build.features = 5;
    build.seed = 7;
    build.options = RouterOptions(options);
    return TaskRouter<double>::make(std::move(build));
}

test::RouterBatch<double> task_batch(std::initializer_list<std::int32_t> tasks, std::uint64_t seed = 1) {
    auto batch = test::random_batch<double>(5, {3, 4, 2}, seed);
    batch.segments.task = Tensor<std::int32_t>::from({3}, tasks);
    return batch;
}

}  // namespace

TEST_CASE("task: weights and gradients of PyTorch's autograd") {
    auto router = task_made("tasks=2, width=2");
    // e and W below; samples of 3, 4 and 2 tokens of the tasks 1, 0, 1; dL/dw[t, e] = sin(3 t + e), e the expert.
    const std::vector<double> e{0.5, -1, 1.5, 0.25}, W{1, -0.5, 0.25, 0.75, -1.5, 2};
    std::copy(e.begin(), e.end(), router.table->value().data());
    std::copy(W.begin(), W.end(), router.projection->value().data());
    AnyRouter<double> any = std::move(router);
    const auto batch = task_batch({1, 0, 1});
    const double want[2][3] = {{0.81938372079828, 0.16134622109743493, 0.019270058104285073},
                               {0.672185649765233, 0.298280573958425, 0.02953377627634203}};
    const auto outcome = test::decide(any, batch);
    auto dw = Tensor<double>::zeros({9, 3});
    for (Index t = 0; t < 9; ++t) {
        const int task = t < 3 || t > 6;
        for (Index k = 0; k < 3; ++k) {
            const std::int32_t expert = outcome.expert.matrix()(t, k);
            CHECK(std::abs(outcome.weight.matrix()(t, k) - want[task][expert]) < 1e-14);
            dw.matrix()(t, k) = std::sin(3.0 * static_cast<double>(t) + expert);
        }
    }
    const auto dx = test::task_gradient(any, batch, dw);
    for (double value : dx.values()) CHECK(value == 0);
    const auto gradients = test::parameter_gradients(any);
    const std::vector<double> de{-0.004073400919749567, 0.001328504204024689, -0.17816550320018198,
                                 0.25800850140567333};
    const std::vector<double> dW{-0.27346285063458353, -0.047975094726055184, 0.2367840979007492,
                                 0.045411292534195444, 0.036678752733834336,  0.0025638021918597334};
    for (std::size_t i = 0; i < 4; ++i) CHECK(std::abs(gradients.at(0).values()[i] - de[i]) < 1e-14);
    for (std::size_t i = 0; i < 6; ++i) CHECK(std::abs(gradients.at(1).values()[i] - dW[i]) < 1e-14);
}

TEST_CASE("task: a token's weights are those of its sample's task, whatever the token is") {
    AnyRouter<double> router = task_made("tasks=3");
    const auto a = test::decide(router, task_batch({2, 0, 2}, 1));
    const auto b = test::decide(router, task_batch({2, 0, 1}, 2));
    for (Index t = 0; t < 7; ++t) CHECK(test::same_token(a, t, b, t));
    CHECK(test::same_token(a, 0, a, 8));
    CHECK_FALSE(test::same_token(a, 0, a, 3));
    CHECK_FALSE(test::same_token(a, 8, b, 8));
}

TEST_CASE("task: a task that no sample has is not trained") {
    auto made = task_made("tasks=3, width=4");
    const auto table = made.table;
    AnyRouter<double> router = std::move(made);
    test::decide_and_learn(router, task_batch({2, 0, 2}));
    const auto gradient = test::parameter_gradients(router).at(0);
    for (Index d = 0; d < 4; ++d) {
        CHECK(gradient.matrix()(0, d) != 0);
        CHECK(gradient.matrix()(1, d) == 0);
        CHECK(gradient.matrix()(2, d) != 0);
    }
}

TEST_CASE("task: a sample without a task is an error, or of the default task") {
    auto batch = task_batch({2, kNoTask, 0});
    AnyRouter<double> strict = task_made("tasks=3"), usual = task_made("tasks=3, default_task=1");
    CHECK_THROWS_WITH_AS(test::decide(strict, batch), doctest::Contains("none for the sample of token 3"),
                         Error);
    const auto got = test::decide(usual, batch), want = test::decide(strict, task_batch({2, 1, 0}));
    CHECK(test::same_values(got.weight, want.weight));
    batch.segments.task = {};
    CHECK_THROWS_WITH_AS(test::decide(strict, batch), doctest::Contains("a task for every sample"), Error);
    CHECK(test::same_values(test::decide(usual, batch).weight,
                            test::decide(strict, task_batch({1, 1, 1})).weight));
    CHECK_THROWS_WITH_AS(test::decide(usual, task_batch({3, 1, 1})), doctest::Contains("a task in [0, 3)"),
                         Error);
}

TEST_CASE("task: options, and the names of its parameters") {
    auto router = task_made("tasks=4, width=8, default_task=3", 6);
    CHECK(router.experts() == 6);
    CHECK(router.slots() == 6);
    CHECK(router.table->name() == "layer.router.task_embedding.weight");
    CHECK(router.table->shape() == Shape{4, 8});
    CHECK(router.projection->shape() == Shape{6, 8});
    for (const char* wrong : {"", "tasks=0", "tasks=2, default_task=2", "tasks=2, default_task=0.5",
                              "tasks=2, default_task=-2", "tasks=2, width=0"}) {
        CAPTURE(wrong);
        CHECK_THROWS_AS(task_made(wrong), Error);
    }
}
