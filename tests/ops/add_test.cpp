#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/add.hpp>
#include <moegrad/ops/add.hpp>

#include "support/bits.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(add);

namespace {
const auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{add<Real>(tape, in[0], in[1])};
};
}  // namespace

TEST_CASE("add: gradients and float against double") {
    test::check_op(
        {&add_slot},
        [](Index T) {
            return std::vector{Shape{T, 5}, Shape{T, 5}};
        },
        op);
    // 16 bytes a thread, and more rows than one launch has threads.
    test::OpCheckOptions wide;
    wide.rows = {1, 7};
    wide.float_bound = 2e-7;
    wide.cuda_rows = {0, 331};
    test::check_op(
        {&add_slot},
        [](Index T) {
            return std::vector{Shape{T, 40}, Shape{T, 40}};
        },
        op, wide);
    test::check_op(
        {&add_slot},
        [](Index T) {
            return std::vector{Shape{T}, Shape{T}};
        },
        op);
    test::check_op(
        {&add_slot},
        [](Index T) {
            return std::vector{Shape{T, 3, 7}, Shape{T, 3, 7}};
        },
        op);
}

TEST_CASE("add: complex step") {
    test::check_complex_step(op, {test::random_tensor({3, 9}, 1), test::random_tensor({3, 9}, 2)});
}

TEST_CASE("add: x + x has twice the gradient") {
    test::on_each_device([](Context& context) {
        Tape tape(context);
        auto x = tape.input(test::tensor_on(context, Tensor<float>::from({1, 3}, {1, 2, 3})));
        auto y = add(tape, x, x);
        CHECK(test::same_bits(host(y.value()), Tensor<float>::from({1, 3}, {2, 4, 6})));
        copy_values(x.value(), y.gradient()->target().tensor);
        tape.backward();
        CHECK(test::same_bits(host(x.gradient()->tensor()), Tensor<float>::from({1, 3}, {2, 4, 6})));
    });
}

TEST_CASE("add: shapes that differ are an error that names both") {
    Tape tape(test::context());
    Var<float> a(Tensor<float>::zeros({2, 4})), b(Tensor<float>::zeros({4, 2}));
    CHECK_THROWS_WITH_AS(add(tape, a, b), doctest::Contains("a [2, 4], b [4, 2]"), Error);
}
