#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/mix.hpp>
#include <moegrad/ops/mix.hpp>
#include <moegrad/ops/softmax.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(mix);

namespace {
const auto op = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{mix(tape, in[0], in[1]), mix(tape, in[0], in[1])};
};
}  // namespace

TEST_CASE("mix: gradients and float against double") {
    const Index sizes[][2] = {{1, 1}, {1, 5}, {3, 1}, {4, 7}, {2, 67}};
    for (const auto& [J, E] : sizes) {
        test::check_op({&mix_slot},
                       [J = J, E = E](Index T) {
                           return std::vector{Shape{T, J}, Shape{T, J * E}};
                       },
                       op, {.cuda_rows = {65, 300}});
    }
}

TEST_CASE("mix: complex step") {
    test::check_complex_step(op, {test::random_tensor({3, 2}, 1), test::random_tensor({3, 8}, 2)});
}

TEST_CASE("mix: probabilities of the Mixture of Routers vectors, form A") {
    // reference: W_m x, W_0 x and W_1 x of token x0 = [1, -1] give P = .726731 .205084 .068185.
    Tape tape(test::context());
    const Var<double> main(Tensor<double>::from({1, 2}, {1, -1}));
    const Var<double> sub(Tensor<double>::from({1, 6}, {1, -1, -1.5, -1.5, 2, -.5}));
    const auto P = mix(tape, softmax(tape, main), softmax(tape, sub, 2)).value();
    const double want[] = {.726731, .205084, .068185};
    for (std::size_t e = 0; e < 3; ++e) CHECK(std::abs(P.values()[e] - want[e]) < 1e-6);
}

TEST_CASE("mix: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    Var<float> a(Tensor<float>::zeros({2, 3})), s(Tensor<float>::zeros({2, 10}));
    CHECK_THROWS_WITH_AS(mix(tape, a, s), doctest::Contains("a [2, 3], s [2, 10]"), Error);
}
