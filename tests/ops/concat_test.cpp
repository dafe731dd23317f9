#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/concat.hpp>
#include <moegrad/ops/concat.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(concat);

namespace {
const auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{concat<Real>(tape, in[0], in[1]), concat<Real>(tape, in[1], in[0])};
};

/// bf16: the gradient of each use is rounded before they are added.
const auto rounded = [](Tape& tape, const test::Inputs<double>& in) {
    const auto use = [&](std::size_t n) { return test::rounded(tape, in[n]); };
    return std::vector{concat(tape, use(0), use(1)), concat(tape, use(1), use(0))};
};

}  // namespace

TEST_CASE("concat: gradients and float against double") {
    const Index sizes[][2] = {{1, 1}, {5, 3}, {67, 0}, {0, 2}, {9, 40}, {16, 8}};
    for (const auto& [A, B] : sizes) {
        test::check_op(
            {&concat_slot},
            [A = A, B = B](Index T) {
                return std::vector{Shape{T, A}, Shape{T, B}};
            },
            op, {}, rounded);
    }
}

TEST_CASE("concat: complex step") {
    test::check_complex_step(op, {test::random_tensor({3, 4}, 1), test::random_tensor({3, 2}, 2)});
}

TEST_CASE("concat: the columns of a come first, and only wanted gradients are made") {
    Tape tape(test::context());
    auto a = tape.input(Tensor<float>::from({2, 1}, {1, 2}));
    Var<float> b(Tensor<float>::from({2, 2}, {3, 4, 5, 6}));
    auto y = concat(tape, a, b);
    const float want[] = {1, 3, 4, 2, 5, 6};
    for (std::size_t i = 0; i < 6; ++i) CHECK(y.value().values()[i] == want[i]);
    auto dy = y.gradient()->target();
    for (std::size_t i = 0; i < 6; ++i) dy.tensor.values()[i] = float(i);
    tape.backward();
    CHECK(a.gradient()->tensor().values()[0] == 0);
    CHECK(a.gradient()->tensor().values()[1] == 3);
}

TEST_CASE("concat: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    Var<float> a(Tensor<float>::zeros({2, 4})), b(Tensor<float>::zeros({3, 4}));
    CHECK_THROWS_WITH_AS(concat(tape, a, b), doctest::Contains("a [2, 4], b [3, 4]"), Error);
}
