#include <moegrad/ops/top_k.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

using namespace moegrad;

namespace {

/// The definition, row by row: sort all columns by score, stable, and keep K.
template <class Real>
std::vector<std::int32_t> reference(const Tensor<Real>& scores, Index K, Index groups) {
    const Index E = scores.extent(1) / groups;
    std::vector<std::int32_t> all;
    for (Index t = 0; t < scores.extent(0); ++t) {
        for (Index g = 0; g < groups; ++g) {
            const Real* row = scores.matrix().row(t) + g * E;
            std::vector<std::int32_t> order(static_cast<std::size_t>(E));
            std::iota(order.begin(), order.end(), 0);
            std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return row[a] > row[b]; });
            all.insert(all.end(), order.begin(), order.begin() + K);
        }
    }
    return all;
}

template <class Real>
void check(const Tensor<Real>& scores, Index K, Index groups = 1) {
    CAPTURE(K);
    const auto want = reference(scores, K, groups);
    const auto choose = [&](Context& context) {
        Tape tape(context);
        const auto choice = host(top_k(tape, test::tensor_on(context, scores), K, groups));
        CHECK(choice.shape() == Shape{scores.extent(0), groups * K});
        CHECK(std::vector<std::int32_t>(choice.values().begin(), choice.values().end()) == want);
    };
    if constexpr (std::is_same_v<Real, float>) {
        test::on_each_device(choose);
    } else {
        choose(test::context());
    }
}

/// Few distinct values: many ties, of either sign.
template <class Real>
Tensor<Real> coarse(const Shape& shape, std::uint64_t seed) {
    auto t = test::random_tensor<Real>(shape, seed);
    for (Real& value : t.values()) value = Real(std::round(static_cast<double>(value)));
    return t;
}

}  // namespace

TEST_CASE_TEMPLATE("top_k: a full sort gives the same columns, for every K, with ties", Real, float, double) {
    for (Index T : {0, 1, 7, 301}) {
        for (Index E : {1, 2, 5, 16, 33}) {
            for (Index K = 1; K <= E; ++K) check(test::random_tensor<Real>({T, E}, 3), K);
            for (Index K = 1; K <= E; ++K) check(coarse<Real>({T, E}, 4), K);
        }
        for (Index K = 1; K <= 4; ++K) check(coarse<Real>({T, 12}, 5), K, 3);
    }
    check(coarse<Real>({33, 300}, 6), 16);
    test::add_reference_record(top_k_slot, number_of<Real>());
    if (has_cuda()) test::add_reference_record(top_k_slot, Number::float32, Device::cuda);
}

TEST_CASE("top_k: equal scores go to the lowest columns; -0 equals 0; -infinity is a score") {
    const float infinity = std::numeric_limits<float>::infinity();
    const auto scores = Tensor<float>::from({4, 4}, {2, 2, 2, 2,                           //
                                                     -0.0f, 0.0f, -0.0f, 0.0f,             //
                                                     -infinity, -infinity, -3, -infinity,  //
                                                     -4, -1, -1, infinity});
    test::on_each_device([&](Context& context) {
        Tape tape(context);
        const auto choice = host(top_k(tape, test::tensor_on(context, scores), 3));
        const std::vector<std::int32_t> want{0, 1, 2, 0, 1, 2, 2, 0, 1, 3, 1, 2};
        CHECK(std::equal(want.begin(), want.end(), choice.values().begin()));
    });
}

TEST_CASE("top_k: on a GPU a NaN comes last and is reported") {
    if (!test::device_reports()) return;
    test::take_status();
    Tape tape(test::cuda_context());
    const float none = std::numeric_limits<float>::quiet_NaN(), low = -std::numeric_limits<float>::infinity();
    const auto plain = placed(Tensor<float>::from({1, 3}, {low, 1, 0}), Device::cuda);
    top_k(tape, plain, 3);
    CHECK_FALSE(test::take_status().any());
    const auto scores = placed(Tensor<float>::from({2, 3}, {none, low, 0, none, -none, none}), Device::cuda);
    const auto choice = host(top_k(tape, scores, 3));
    const std::vector<std::int32_t> want{2, 1, 0, 0, 1, 2};
    CHECK(std::equal(want.begin(), want.end(), choice.values().begin()));
    CHECK(test::take_status().not_finite == 1);
}

TEST_CASE("top_k: a NaN is an error that names its token") {
    Tape tape(test::context());
    auto scores = Tensor<double>::zeros({5, 3});
    scores.values()[3 * 3 + 2] = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_WITH_AS(top_k(tape, scores, 2), doctest::Contains("NaN for token 3, column 2"), Error);
}

TEST_CASE("top_k: a replay returns what was recorded and does not look at the scores") {
    Selections selections;
    Tape first(test::context(), Mode::inference);
    first.set_selections(&selections);
    const auto choice = top_k(first, Tensor<float>::from({1, 3}, {1, 3, 2}), 2);
    selections.rewind();
    Tape replay(test::context());
    replay.set_selections(&selections);
    const auto again = top_k(replay, Tensor<float>::from({1, 3}, {9, 0, 0}), 2);
    CHECK(again.values()[0] == 1);
    CHECK(again.values()[1] == 2);
    CHECK(again.data() == choice.data());

    selections.rewind();
    CHECK_THROWS_WITH_AS(top_k(replay, Tensor<float>::zeros({2, 3}), 2), doctest::Contains("[1, 2]"), Error);
    CHECK_THROWS_AS(top_k(replay, Tensor<float>::zeros({1, 3}), 2), Error);
}

TEST_CASE("top_k: K must fit the columns") {
    Tape tape(test::context());
    const auto scores = Tensor<float>::zeros({2, 6});
    CHECK_THROWS_WITH_AS(top_k(tape, scores, 7), doctest::Contains("scores [2, 6], K 7"), Error);
    CHECK_THROWS_AS(top_k(tape, scores, 0), Error);
    CHECK_THROWS_AS(top_k(tape, scores, 4, 2), Error);
    CHECK_THROWS_AS(top_k(tape, scores, 1, 4), Error);
}
