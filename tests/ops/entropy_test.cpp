#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/entropy.hpp>
#include <moegrad/ops/entropy.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(entropy);

namespace {
const auto op = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{entropy(tape, in[0]), entropy(tape, in[0], 1e-2)};
};
}  // namespace

TEST_CASE("entropy: gradients and float against double") {
    for (Index E : {1, 5, 67}) {
        test::check_op({&entropy_slot},
                       [E](Index T) {
                           return std::vector{Shape{T, E}};
                       },
                       op, {.scale = {0.05}, .shift = {0.4}, .cuda_rows = {65, 300}});
    }
}

TEST_CASE("entropy: complex step") {
    test::check_complex_step(op, {test::random_tensor({3, 9}, 1, 0.1, 1)});
}

TEST_CASE("entropy: known values, and 0 log 0") {
    // Row 0: softmax(2, 1, 0, -1), computed with Python's math.
    Tape tape(test::context());
    auto p = tape.input(Tensor<double>::from(
        {3, 4}, {0.6439142598879724, 0.23688281808991013, 0.08714431874203257, 0.03205860328008499,  //
                 .25, .25, .25, .25,                                                                 //
                 0, 1, 0, 0}));
    const auto h = entropy(tape, p);
    auto dh = h.gradient()->target();
    for (double& value : dh.tensor.values()) value = 2;
    tape.backward();
    CHECK(h.value().data()[0] == doctest::Approx(0.9475369639754255).epsilon(1e-14));
    CHECK(h.value().data()[1] == doctest::Approx(std::log(4.0)).epsilon(1e-14));
    CHECK(h.value().data()[2] == 0);
    const auto dp = p.gradient()->tensor().view<2>();
    CHECK(dp(1, 0) == doctest::Approx(-2 * (std::log(0.25) + 1)).epsilon(1e-14));
    CHECK(dp(2, 0) == 0);
    CHECK(dp(2, 1) == -2);
}

TEST_CASE("entropy: with eps a sure token is just below 0, and nothing is lost where p is 0") {
    // -log(1 + 1e-5) and log(1e-5), computed with Python's math.
    Tape tape(test::context());
    auto p = tape.input(Tensor<double>::from({1, 3}, {0, 1, 0}));
    const auto h = entropy(tape, p, 1e-5);
    h.gradient()->target().tensor.data()[0] = 1;
    tape.backward();
    CHECK(h.value().data()[0] == doctest::Approx(-9.99995000039884e-06).epsilon(1e-12));
    CHECK(p.gradient()->tensor().data()[0] == doctest::Approx(11.512925464970229).epsilon(1e-14));
}

TEST_CASE("entropy: NaN is not taken for 0, and rank is checked") {
    test::on_each_device([](Context& context) {
        Tape tape(context);
        const Var<float> p(test::tensor_on(context, Tensor<float>::from({3, 2}, {NAN, 1, 0, 1, .5f, .5f})));
        const auto h = host(entropy(tape, p).value());
        CHECK(std::isnan(h.data()[0]));
        CHECK(h.data()[1] == 0);
        CHECK(h.data()[2] == doctest::Approx(std::log(2.0)));
    });
    Tape tape(test::context());
    CHECK_THROWS_WITH_AS(entropy(tape, Var<float>(Tensor<float>::zeros({3}))), doctest::Contains("p [3]"),
                         Error);
}
