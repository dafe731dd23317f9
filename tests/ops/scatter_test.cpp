#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/scatter.hpp>
#include <moegrad/ops/scatter.hpp>
#include <moegrad/ops/take.hpp>

#include "support/op_check.hpp"

#include <algorithm>

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(scatter);

namespace {

/// Columns -2 .. E-1 of each group, no two used columns of a row alike.
Tensor<std::int32_t> some_columns(Index T, Index K, Index E, Index groups) {
    auto index = Tensor<std::int32_t>::zeros({T, groups * K});
    for (Index t = 0; t < T; ++t) {
        for (Index j = 0; j < groups * K; ++j) {
            index.matrix().row(t)[j] = static_cast<std::int32_t>((5 * t + j % K + j / K) % (E + 2) - 2);
        }
    }
    return index;
}

/// Twice, so that the second gradient accumulates.
auto op(Index K, Index E, Index groups) {
    return [=]<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
        const auto index = placed(some_columns(in[0].extent(0), K, E, groups), tape.device());
        return std::vector{scatter(tape, in[0], index, E, groups),
                           scatter(tape, in[0], index, E + 1, groups)};
    };
}

}  // namespace

TEST_CASE("scatter: gradients and float against double") {
    const auto check = [](Index K, Index E, Index groups, std::vector<Index> rows) {
        test::check_op({&scatter_slot},
                       [=](Index T) {
                           return std::vector{Shape{T, groups * K}};
                       },
                       op(K, E, groups), {.cuda_rows = std::move(rows)});
    };
    check(3, 5, 1, {300});
    check(1, 1, 1, {257});
    check(4, 7, 3, {65});
    check(16, 40, 1, {33});
    test::check_complex_step(op(3, 5, 1), {test::random_tensor({7, 3}, 1)});
}

TEST_CASE("scatter: take undoes it, and everything else is 0") {
    Tape tape(test::context());
    const Var<double> w(test::random_tensor({9, 6}, 3));
    const auto index = some_columns(9, 3, 5, 2);
    const auto p = scatter(tape, w, index, 5, 2);
    CHECK(p.shape() == Shape{9, 10});
    const auto back = take(tape, p, index, 2);
    Index used = 0;
    for (std::size_t i = 0; i < back.value().values().size(); ++i) {
        const bool in_use = index.values()[i] >= 0;
        used += in_use;
        CHECK(back.value().values()[i] == (in_use ? w.value().values()[i] : 0));
    }
    const auto values = p.value().values();
    CHECK(std::count_if(values.begin(), values.end(), [](double v) { return v != 0; }) == used);
}

TEST_CASE("scatter: an index out of range and shapes that do not fit are errors") {
    Tape tape(test::context());
    const Var<float> w(Tensor<float>::zeros({2, 2}));
    CHECK_THROWS_WITH_AS(scatter(tape, w, Tensor<std::int32_t>::from({2, 2}, {0, 1, 0, 3}), 3),
                         doctest::Contains("3 for token 1, slot 1"), Error);
    CHECK_THROWS_WITH_AS(scatter(tape, w, Tensor<std::int32_t>::zeros({2, 3}), 3),
                         doctest::Contains("index [2, 3]"), Error);
}
