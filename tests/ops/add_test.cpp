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
    CHECK_THROWS_WITH_AS(add_on_read(tape, a, b), doctest::Contains("a [2, 4], b [4, 2]"), Error);
}

TEST_CASE("add: on reading, made once and only for who asks for numbers or gradients") {
    test::on_each_device([](Context& context) {
        Tape tape(context), other(context);
        const auto a = tape.input(test::tensor_on(context, Tensor<float>::from({1, 3}, {1, 2, 3})));
        const Var<float> b(test::tensor_on(context, Tensor<float>::from({1, 3}, {4, 5, 6})));
        const auto y = add_on_read(tape, a, b), same = y;
        CHECK(y.shape() == a.shape());
        CHECK(y.needs_gradient());
        CHECK(tape.size() == 0);
        CHECK(sum_on_read(tape, y) != nullptr);
        CHECK(sum_on_read(other, y) == nullptr);
        CHECK(sum_on_read(tape, a) == nullptr);
        CHECK(test::same_bits(host(y.value()), Tensor<float>::from({1, 3}, {5, 7, 9})));
        CHECK(sum_on_read(tape, y) == nullptr);
        CHECK(same.value().data() == y.value().data());
        CHECK(same.gradient() == y.gradient());
        CHECK(tape.size() == 1);
        copy_values(y.value(), y.gradient()->target().tensor);
        tape.backward();
        CHECK(test::same_bits(host(a.gradient()->tensor()), Tensor<float>::from({1, 3}, {5, 7, 9})));
    });
}

TEST_CASE("add: on reading, constants and sums of sums") {
    Tape tape(test::context()), looks(test::context(), Mode::inference);
    const Var<float> one(Tensor<float>::from({1, 2}, {1, 2}));
    CHECK_FALSE(add_on_read(tape, one, one).needs_gradient());
    CHECK_FALSE(add_on_read(looks, looks.input(one.value()), one).needs_gradient());
    const auto x = tape.input(one.value());
    const auto y = add_on_read(tape, add_on_read(tape, x, one), add_on_read(tape, one, x));
    CHECK(test::same_bits(y.value(), Tensor<float>::from({1, 2}, {4, 8})));
    CHECK(tape.size() == 3);
}
