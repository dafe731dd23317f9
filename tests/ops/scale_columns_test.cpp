#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/scale_columns.hpp>
#include <moegrad/ops/scale_columns.hpp>

#include "support/bits.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(scale_columns);

namespace {

/// Twice, so that the second gradient accumulates.
const auto plain_factors = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{scale_columns<Real>(tape, in[0], in[1]), scale_columns<Real>(tape, in[0], in[1])};
};

/// 0.5, 0.75, .. and every fifth 0.
template <class Real>
Tensor<Real> some_divisors(Index O) {
    auto n = Tensor<Real>::zeros({O});
    for (Index o = 0; o < O; ++o)
        n.data()[o] = o % 5 == 4 ? Real(0) : Real(0.5 + 0.25 * static_cast<double>(o % 7));
    return n;
}
const auto divided_factors = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    const auto n = placed(some_divisors<Wide<Real>>(in[1].extent(0)), tape.device());
    return std::vector{scale_columns<Real>(tape, in[0], in[1], n)};
};

auto column_shapes(Index O) {
    return [O](Index T) { return std::vector{Shape{T, O}, Shape{O}}; };
}

}  // namespace

TEST_CASE("scale_columns: gradients and float against double") {
    for (Index O : {1, 5, 16, 67}) {
        test::check_op({&scale_columns_slot}, column_shapes(O), plain_factors, {.cuda_rows = {32, 33, 300}});
        test::check_op({&scale_columns_slot}, column_shapes(O), divided_factors, {.cuda_rows = {65}});
    }
}

TEST_CASE("scale_columns: complex step") {
    test::check_complex_step(plain_factors, {test::random_tensor({3, 9}, 1), test::random_tensor({9}, 2)});
    test::check_complex_step(divided_factors, {test::random_tensor({3, 9}, 1), test::random_tensor({9}, 2)});
}

TEST_CASE("scale_columns: known values, and columns whose divisor is 0") {
    test::on_each_device([](Context& context) {
        Tape tape(context);
        const auto on = [&](const Tensor<float>& tensor) { return test::tensor_on(context, tensor); };
        const auto x = tape.input(on(Tensor<float>::from({2, 3}, {1, 2, NAN, 4, 5, 6})));
        const auto l = tape.input(on(Tensor<float>::from({3}, {3, -1, 7})));
        const auto y = scale_columns(tape, x, l, on(Tensor<float>::from({3}, {2, 1, 0})));
        CHECK(host(y.value()).data()[0] == 1.5f);
        CHECK(host(y.value()).data()[4] == -5);
        copy_values(Tensor<float>::from({2, 3}, {1, 1, 1, 1, 1, 1}), y.gradient()->target().tensor);
        tape.backward();
        const auto dl = host(l.gradient()->tensor()), dx = host(x.gradient()->tensor());
        CHECK(dl.data()[0] == 2.5f);
        CHECK(dl.data()[1] == 7);
        CHECK(dl.data()[2] == 0);
        CHECK(dx.data()[3] == 1.5f);
        CHECK(dx.data()[5] == 0);
        // NaN is not taken for 0: only a finite column is switched off.
        CHECK(std::isnan(host(y.value()).data()[2]));
        CHECK(host(y.value()).data()[5] == 0);
    });
}

TEST_CASE("scale_columns: either may be frozen, the other keeps its gradient to the bit") {
    test::on_each_device([](Context& context) {
        const auto n = test::tensor_on(context, some_divisors<float>(12));
        const auto gradients = [&](bool x_learns, bool l_learns) {
            Tape tape(context);
            const auto var = [&](const Tensor<float>& tensor, bool learns) {
                const auto there = test::tensor_on(context, tensor);
                return learns ? tape.input(there) : Var<float>(there);
            };
            const auto x = var(test::random_tensor<float>({70, 12}, 1), x_learns),
                       l = var(test::random_tensor<float>({12}, 2), l_learns);
            const auto y = scale_columns(tape, x, l, n);
            copy_values(test::random_tensor<float>({70, 12}, 3), y.gradient()->target().tensor);
            tape.backward();
            return std::pair{x_learns ? host(x.gradient()->tensor()) : Tensor<float>(),
                             l_learns ? host(l.gradient()->tensor()) : Tensor<float>()};
        };
        const auto both = gradients(true, true);
        CHECK(test::same_bits(gradients(true, false).first, both.first));
        CHECK(test::same_bits(gradients(false, true).second, both.second));
    });
}

TEST_CASE("scale_columns: bits do not depend on threads or on the cut into micro-batches") {
    test::check_bits<float>({test::random_tensor<float>({37, 65}, 1)}, {test::random_tensor<float>({65}, 2)},
                            [&](Tape& tape, const auto& rows, const auto& weights, Index, Index) {
                                return scale_columns<float>(tape, rows[0], weights[0]);
                            });
}

TEST_CASE("scale_columns: shapes that do not fit are an error that names all") {
    Tape tape(test::context());
    const Var<float> x(Tensor<float>::zeros({2, 4})), l(Tensor<float>::zeros({4})),
        wrong(Tensor<float>::zeros({3}));
    CHECK_THROWS_WITH_AS(scale_columns(tape, x, wrong), doctest::Contains("x [2, 4], l [3]"), Error);
    CHECK_THROWS_WITH_AS(scale_columns(tape, x, l, wrong.value()), doctest::Contains("n [3]"), Error);
    const Var<float> column(Tensor<float>::zeros({4, 3}).columns(0, 1));
    CHECK_THROWS_WITH_AS(scale_columns(tape, x, column), doctest::Contains("[4, 1] with pitch 3"), Error);
}
