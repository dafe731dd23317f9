#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/rms_norm.hpp>
#include <moegrad/ops/rms_norm.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(rms_norm);

namespace {
const auto op = []<class Real>(Tape& tape, const std::vector<Var<Real>>& in) {
    return std::vector{rms_norm(tape, in[0], in[1], 1e-5)};
};
}

TEST_CASE("rms_norm: gradients and float against double") {
    test::check_op(
        {&rms_norm_slot},
        [](Index T) {
            return std::vector{Shape{T, 5}, Shape{5}};
        },
        op);
    // One column: with a small eps, y = sign(x) w and dx is a difference of equal numbers; a large eps conditions it.
    test::check_op(
        {&rms_norm_slot},
        [](Index T) {
            return std::vector{Shape{T, 1}, Shape{1}};
        },
        []<class Real>(Tape& tape, const std::vector<Var<Real>>& in) {
            return std::vector{rms_norm(tape, in[0], in[1], 0.5)};
        });
    test::check_op(
        {&rms_norm_slot},
        [](Index T) {
            return std::vector{Shape{T, 67}, Shape{67}};
        },
        op);
}

TEST_CASE("rms_norm: complex step") {
    test::check_complex_step(op, {test::random_tensor({3, 9}, 1), test::random_tensor({9}, 2)});
}

TEST_CASE("rms_norm: a zero row stays zero and finite") {
    Tape tape(test::context());
    auto x = tape.input(Tensor<float>::zeros({1, 4}));
    auto y = rms_norm(tape, x, Var<float>(Tensor<float>::from({4}, {1, 1, 1, 1})), 1e-6);
    for (float value : y.value().values()) CHECK(value == 0);
}

TEST_CASE("rms_norm: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    Var<float> x(Tensor<float>::zeros({2, 4})), w(Tensor<float>::zeros({5}));
    CHECK_THROWS_WITH_AS(rms_norm(tape, x, w, 1e-6), doctest::Contains("x [2, 4], w [5]"), Error);
}
