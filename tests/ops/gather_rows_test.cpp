#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/gather_rows.hpp>
#include <moegrad/ops/gather_rows.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

#include <algorithm>

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(gather_rows);

namespace {

/// Every `step`-th row backwards, then `none` times no row.
Tensor<std::int32_t> some_rows(Index T, Index step, Index none) {
    std::vector<std::int32_t> rows;
    for (Index t = T - 1; t >= 0; t -= step) rows.push_back(static_cast<std::int32_t>(t));
    rows.insert(rows.end(), static_cast<std::size_t>(none), -1);
    auto index = Tensor<std::int32_t>::zeros({static_cast<Index>(rows.size())});
    std::copy(rows.begin(), rows.end(), index.values().begin());
    return index;
}

/// Twice, so that the second gradient accumulates.
const auto op = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    const Index T = in[0].extent(0);
    const auto some = placed(some_rows(T, 2, 1), tape.device());
    const auto all = placed(some_rows(T, 1, 0), tape.device());
    return std::vector{gather_rows<Real>(tape, in[0], some), gather_rows<Real>(tape, in[0], all)};
};

}  // namespace

TEST_CASE("gather_rows: gradients and float against double") {
    for (Index D : {1, 3, 8, 67}) {
        test::check_op({&gather_rows_slot},
                       [D](Index T) {
                           return std::vector{Shape{T, D}};
                       },
                       op, {.cuda_rows = {65, 300}});
    }
    test::check_complex_step(op, {test::random_tensor({5, 3}, 1)});
}

TEST_CASE("gather_rows: rows as they stand, zeros for none; the gradient goes back to where they came from") {
    const auto values = Tensor<float>::from({3, 2}, {1, 2, 3, 4, 5, 6});
    const auto rows = Tensor<std::int32_t>::from({4}, {2, -1, 0, -5});
    test::on_each_device([&](Context& context) {
        Tape tape(context);
        const auto x = tape.input(test::tensor_on(context, values));
        const auto y = gather_rows(tape, x, test::tensor_on(context, rows));
        const std::vector<float> want{5, 6, 0, 0, 1, 2, 0, 0};
        const auto got = host(y.value());
        CHECK(std::equal(want.begin(), want.end(), got.values().begin()));
        copy_values(Tensor<float>::from({4, 2}, {1, 2, 3, 4, 5, 6, 7, 8}), y.gradient()->target().tensor);
        tape.backward();
        const std::vector<float> gradient{5, 6, 0, 0, 1, 2};
        const auto dx = host(x.gradient()->tensor());
        CHECK(std::equal(gradient.begin(), gradient.end(), dx.values().begin()));
    });
}

TEST_CASE("gather_rows: an index beyond the rows is an error, or 0 and reported") {
    Tape tape(test::context());
    const auto x = Tensor<float>::from({2, 1}, {1, 2});
    const auto index = Tensor<std::int32_t>::from({2}, {1, 2});
    CHECK_THROWS_WITH_AS(gather_rows(tape, Var<float>(x), index), doctest::Contains("2 for row 1"), Error);
    CHECK_THROWS_AS(gather_rows(tape, Var<float>(x), Tensor<std::int32_t>::zeros({1, 1})), Error);
    if (!test::device_reports()) return;
    test::take_status();
    Tape there(test::cuda_context());
    const auto input = there.input(placed(x, Device::cuda));
    const auto y = gather_rows(there, input, placed(index, Device::cuda));
    CHECK(test::take_status().bad_index == 1);
    const auto got = host(y.value());
    CHECK(std::vector<float>(got.values().begin(), got.values().end()) == std::vector<float>{2, 0});
    copy_values(Tensor<float>::from({2, 1}, {3, 4}), y.gradient()->target().tensor);
    there.backward();
    const auto dx = host(input.gradient()->tensor());
    CHECK(std::vector<float>(dx.values().begin(), dx.values().end()) == std::vector<float>{0, 3});
}
