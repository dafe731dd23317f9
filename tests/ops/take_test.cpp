#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/take.hpp>
#include <moegrad/ops/take.hpp>

#include "support/op_check.hpp"

#include <algorithm>

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(take);

namespace {

/// Columns -2 .. E-1 of each group, no two used columns of a row alike.
Tensor<std::int32_t> some_columns(Index T, Index K, Index E, Index groups) {
    auto index = Tensor<std::int32_t>::zeros({T, groups * K});
    for (Index t = 0; t < T; ++t) {
        for (Index j = 0; j < groups * K; ++j) {
            index.matrix().row(t)[j] = static_cast<std::int32_t>((3 * t + j % K + j / K) % (E + 2) - 2);
        }
    }
    return index;
}

/// Twice, so that the second gradient accumulates.
auto op(Index K, Index E, Index groups) {
    return [=]<class Real>(Tape& tape, const std::vector<Var<Real>>& in) {
        const auto index = some_columns(in[0].extent(0), K, E, groups);
        const auto other = some_columns(in[0].extent(0), K - 1, E, groups);
        return std::vector{take(tape, in[0], index, groups), take(tape, in[0], other, groups)};
    };
}

}  // namespace

TEST_CASE("take: gradients and float against double") {
    test::check_op(
        {&take_slot},
        [](Index T) {
            return std::vector{Shape{T, 5}};
        },
        op(3, 5, 1));
    test::check_op(
        {&take_slot},
        [](Index T) {
            return std::vector{Shape{T, 1}};
        },
        op(1, 1, 1));
    test::check_op(
        {&take_slot},
        [](Index T) {
            return std::vector{Shape{T, 21}};
        },
        op(4, 7, 3));
    test::check_complex_step(op(3, 5, 1), {test::random_tensor({7, 5}, 1)});
}

TEST_CASE("take: values at the columns of each group, 0 for a negative index") {
    Tape tape(test::context());
    const auto p = tape.input(Tensor<float>::from({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}));
    const auto index = Tensor<std::int32_t>::from({2, 4}, {1, 0, 1, -2, -1, 1, 0, 0});
    const auto w = take(tape, p, index, 2);
    const std::vector<float> want{2, 1, 4, 0, 0, 6, 7, 7};
    CHECK(std::equal(want.begin(), want.end(), w.value().values().begin()));
    moegrad::detail::seed_projection<float>({w});
    const auto c = w.gradient()->tensor().values();
    tape.backward();
    // Column 0 of the second group of the second row was taken twice.
    const std::vector<float> gradient{c[1], c[0], 0, c[2], 0, c[5], c[6] + c[7], 0};
    CHECK(std::equal(gradient.begin(), gradient.end(), p.gradient()->tensor().values().begin()));
}

TEST_CASE("take: an index out of range and shapes that do not fit are errors") {
    Tape tape(test::context());
    const Var<float> p(Tensor<float>::zeros({2, 4}));
    CHECK_THROWS_WITH_AS(take(tape, p, Tensor<std::int32_t>::from({2, 1}, {0, 4})),
                         doctest::Contains("4 for token 1, slot 0"), Error);
    CHECK_THROWS_WITH_AS(take(tape, p, Tensor<std::int32_t>::zeros({3, 1})),
                         doctest::Contains("index [3, 1]"), Error);
    CHECK_THROWS_AS(take(tape, p, Tensor<std::int32_t>::zeros({2, 1}), 3), Error);
}
