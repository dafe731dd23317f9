#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/take.hpp>
#include <moegrad/ops/take.hpp>

#include "support/device_status.hpp"
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
    return [=]<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
        const auto index = placed(some_columns(in[0].extent(0), K, E, groups), tape.device());
        const auto other = placed(some_columns(in[0].extent(0), K - 1, E, groups), tape.device());
        return std::vector{take(tape, in[0], index, groups), take(tape, in[0], other, groups)};
    };
}

}  // namespace

TEST_CASE("take: gradients and float against double") {
    const auto check = [](Index K, Index E, Index groups, std::vector<Index> rows) {
        test::check_op({&take_slot},
                       [=](Index T) {
                           return std::vector{Shape{T, groups * E}};
                       },
                       op(K, E, groups), {.cuda_rows = std::move(rows)});
    };
    check(3, 5, 1, {300});
    check(1, 1, 1, {257});
    check(4, 7, 3, {65});
    check(16, 40, 1, {33});
    test::check_complex_step(op(3, 5, 1), {test::random_tensor({7, 5}, 1)});
}

TEST_CASE("take: values at the columns of each group, 0 for a negative index") {
    const auto values = Tensor<float>::from({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
    const auto columns = Tensor<std::int32_t>::from({2, 4}, {1, 0, 1, -2, -1, 1, 0, 0});
    test::on_each_device([&](Context& context) {
        Tape tape(context);
        const auto p = tape.input(test::tensor_on(context, values));
        const auto w = take(tape, p, test::tensor_on(context, columns), 2);
        const std::vector<float> want{2, 1, 4, 0, 0, 6, 7, 7};
        const auto chosen = host(w.value());
        CHECK(std::equal(want.begin(), want.end(), chosen.values().begin()));
        const std::vector<float> c{1, 2, 3, 4, 5, 6, 7, 8};
        copy_values(Tensor<float>::from({2, 4}, c), w.gradient()->target().tensor);
        tape.backward();
        // Column 0 of the second group of the second row was taken twice.
        const std::vector<float> gradient{c[1], c[0], 0, c[2], 0, c[5], c[6] + c[7], 0};
        const auto dp = host(p.gradient()->tensor());
        CHECK(std::equal(gradient.begin(), gradient.end(), dp.values().begin()));
    });
}

TEST_CASE("take: on a GPU an index out of range gives 0, no gradient, and is reported") {
    if (!test::device_reports()) return;
    test::take_status();
    Tape tape(test::cuda_context());
    const auto p = tape.input(placed(Tensor<float>::from({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}), Device::cuda));
    const auto index = placed(Tensor<std::int32_t>::from({2, 2}, {1, 1, 0, 2}), Device::cuda);
    const auto w = take(tape, p, index, 2);
    CHECK(test::take_status().bad_index == 1);
    CHECK(test::take_status().any() == false);
    const auto got = host(w.value());
    CHECK(std::vector<float>(got.values().begin(), got.values().end()) == std::vector<float>{2, 4, 5, 0});
    copy_values(Tensor<float>::from({2, 2}, {1, 2, 3, 4}), w.gradient()->target().tensor);
    tape.backward();
    const auto dp = host(p.gradient()->tensor());
    CHECK(std::vector<float>(dp.values().begin(), dp.values().end()) ==
          std::vector<float>{0, 1, 0, 2, 3, 0, 0, 0});
    CHECK(test::take_status().bad_index == 1);
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
