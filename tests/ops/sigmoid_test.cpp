#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/sigmoid.hpp>
#include <moegrad/ops/sigmoid.hpp>
#include <moegrad/ops/softmax.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(sigmoid);

namespace {
/// Each twice, so that the second gradient accumulates.
const auto sigmoid_op = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{sigmoid(tape, in[0]), log_sigmoid(tape, in[0]), sigmoid(tape, in[0]),
                       log_sigmoid(tape, in[0])};
};
}  // namespace

TEST_CASE("sigmoid: gradients and float against double") {
    for (Index C : {1, 5, 67}) {
        test::check_op({&sigmoid_slot},
                       [C](Index T) {
                           return std::vector{Shape{T, C}};
                       },
                       sigmoid_op, {.scale = {3}, .cuda_rows = {65, 300}});
    }
}

TEST_CASE("sigmoid: complex step") {
    test::check_complex_step(sigmoid_op, {test::random_tensor({3, 9}, 1, 4)});
}

TEST_CASE("sigmoid: known values, far tails, NaN") {
    // 1 / (1 + exp(-x)) and -log1p(exp(-x)) of Python's math; -1000: the limit.
    const auto x = Tensor<double>::from({1, 5}, {0, 2, -3, 800, -1000});
    const std::vector<double> y{0.5, 0.8807970779778823, 0.04742587317756678, 1, 0};
    const std::vector<double> log_y{-0.6931471805599453, -0.1269280110429725, -3.048587351573742, 0, -1000};
    Tape tape(test::context());
    const auto got = sigmoid(tape, Var<double>(x)).value(),
               log_got = log_sigmoid(tape, Var<double>(x)).value();
    for (std::size_t i = 0; i < y.size(); ++i) {
        CHECK(got.values()[i] == doctest::Approx(y[i]).epsilon(1e-14));
        CHECK(log_got.values()[i] == doctest::Approx(log_y[i]).epsilon(1e-14));
    }
    test::on_each_device([](Context& context) {
        Tape there(context);
        const Var<float> none(test::tensor_on(context, Tensor<float>::from({1, 1}, {NAN})));
        CHECK(std::isnan(host(sigmoid(there, none).value()).data()[0]));
        CHECK(std::isnan(host(log_sigmoid(there, none).value()).data()[0]));
    });
}

TEST_CASE("sigmoid: the softmax of log_sigmoid is sigmoid over its sum, and holds where all underflow") {
    Tape tape(test::context());
    const auto z = test::random_tensor({4, 6}, 3, 2);
    const auto p = softmax(tape, log_sigmoid(tape, Var<double>(z))).value();
    const auto s = sigmoid(tape, Var<double>(z)).value();
    for (Index t = 0; t < 4; ++t) {
        double sum = 0;
        for (Index c = 0; c < 6; ++c) sum += s.matrix()(t, c);
        for (Index c = 0; c < 6; ++c)
            CHECK(p.matrix()(t, c) == doctest::Approx(s.matrix()(t, c) / sum).epsilon(1e-13));
    }
    const Var<double> low(Tensor<double>::from({1, 2}, {-2000, -2001}));
    CHECK(softmax(tape, log_sigmoid(tape, low)).value().data()[0] ==
          doctest::Approx(0.7310585786300049).epsilon(1e-14));  // 1 / (1 + 1/e)
}
