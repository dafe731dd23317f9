#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/multiply.hpp>
#include <moegrad/ops/multiply.hpp>

#include "support/bits.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(multiply);

namespace {
/// Twice, so that the second gradient accumulates.
const auto products_twice = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{multiply<Real>(tape, in[0], in[1]), multiply<Real>(tape, in[0], in[1])};
};
}  // namespace

TEST_CASE("multiply: gradients and float against double") {
    for (Index O : {1, 5, 67}) {
        test::check_op({&multiply_slot},
                       [O](Index T) {
                           return std::vector{Shape{T, O}, Shape{T, O}};
                       },
                       products_twice, {.cuda_rows = {300}});
    }
    test::check_complex_step(products_twice,
                             {test::random_tensor({3, 9}, 1), test::random_tensor({3, 9}, 2)});
}

TEST_CASE("multiply: bits do not depend on threads or on the cut into micro-batches") {
    test::check_bits<float>(
        {test::random_tensor<float>({37, 65}, 1), test::random_tensor<float>({37, 65}, 2)}, {},
        [&](Tape& tape, const auto& rows, const auto&, Index, Index) {
            return multiply<float>(tape, rows[0], rows[1]);
        });
}

TEST_CASE("multiply: shapes that do not fit are an error that names both") {
    Tape tape(test::context());
    const Var<float> f(Tensor<float>::zeros({2, 3})), x(Tensor<float>::zeros({2, 4}));
    CHECK_THROWS_WITH_AS(multiply(tape, f, x), doctest::Contains("f [2, 3], x [2, 4]"), Error);
}
