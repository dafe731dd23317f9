#include <moegrad/ops/top_p.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

using namespace moegrad;

namespace {

/// The definition: sort all columns by score, stable; every place looks at the sums anew.
template <class Real>
std::vector<std::int32_t> sorted_and_cut(const Tensor<Real>& scores, const TopPOptions& options) {
    const Index C = scores.extent(1), K = options.slots(C);
    std::vector<std::int32_t> all;
    for (Index t = 0; t < scores.extent(0); ++t) {
        const Real* row = scores.matrix().row(t);
        std::vector<std::int32_t> order(static_cast<std::size_t>(C));
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return row[a] > row[b]; });
        bool open = true;
        for (Index j = 0; j < K; ++j) {
            double before = 0;
            for (Index i = 0; i < j; ++i)
                before += static_cast<double>(row[order[static_cast<std::size_t>(i)]]);
            const double score = static_cast<double>(row[order[static_cast<std::size_t>(j)]]);
            const bool mass = options.p >= 1 || before + (options.crossing ? 0 : score) <= options.p;
            const bool share = score >= options.ratio * static_cast<double>(row[order[0]]);
            open = open && (j < options.keep || (mass && share));
            all.push_back(open ? order[static_cast<std::size_t>(j)] : kUnused);
        }
    }
    return all;
}

template <class Real>
void check(const Tensor<Real>& scores, const TopPOptions& options) {
    CAPTURE(options.p);
    CAPTURE(options.keep);
    CAPTURE(options.at_most);
    const auto want = sorted_and_cut(scores, options);
    const auto choose = [&](Context& context) {
        Tape tape(context);
        const auto choice = host(top_p(tape, test::tensor_on(context, scores), options));
        REQUIRE(choice.shape() == Shape{scores.extent(0), options.slots(scores.extent(1))});
        CHECK(std::vector<std::int32_t>(choice.values().begin(), choice.values().end()) == want);
    };
    if constexpr (std::is_same_v<Real, float>) {
        test::on_each_device(choose);
    } else {
        choose(test::context());
    }
}

/// Rows that sum to 1; `coarse` ones have few distinct values, so many ties.
template <class Real>
Tensor<Real> distributions(const Shape& shape, std::uint64_t seed, bool coarse) {
    auto p = test::random_tensor<Real>(shape, seed, 2);
    for (Index t = 0; t < shape[0]; ++t) {
        double sum = 0;
        for (Index c = 0; c < shape[1]; ++c) {
            const double z = static_cast<double>(p.matrix()(t, c));
            p.matrix()(t, c) = Real(std::exp(coarse ? std::round(z) : z));
            sum += static_cast<double>(p.matrix()(t, c));
        }
        for (Index c = 0; c < shape[1]; ++c)
            p.matrix()(t, c) = Real(static_cast<double>(p.matrix()(t, c)) / sum);
    }
    return p;
}

std::vector<std::int32_t> chosen(const std::vector<float>& row, const TopPOptions& options) {
    Tape tape(test::context());
    auto scores = Tensor<float>::zeros({1, static_cast<Index>(row.size())});
    std::copy(row.begin(), row.end(), scores.data());
    const auto choice = top_p(tape, scores, options);
    std::vector<std::int32_t> all;
    for (std::int32_t c : choice.values()) {
        if (c >= 0) all.push_back(c);
    }
    return all;
}

using Columns = std::vector<std::int32_t>;

}  // namespace

TEST_CASE_TEMPLATE("top_p: a full sort gives the same columns, with ties, for every option", Real, float,
                   double) {
    for (Index T : {0, 1, 7, 301}) {
        for (Index C : {1, 2, 8, 33}) {
            for (bool coarse : {false, true}) {
                const auto scores = distributions<Real>({T, C}, 3, coarse);
                for (double p : {0.0, 0.4, 0.75, 1.0}) {
                    for (bool crossing : {false, true}) {
                        check(scores, {.p = p, .crossing = crossing});
                        check(scores, {.p = p, .keep = 2, .crossing = crossing, .at_most = 3});
                        check(scores, {.p = p, .ratio = 0.3, .keep = 0, .crossing = crossing});
                    }
                }
                check(scores, {.p = 1, .ratio = 0.5, .at_most = 2});
            }
        }
    }
    check(distributions<Real>({33, 300}, 6, true), {.p = 0.9});
    test::add_reference_record(top_p_slot, number_of<Real>());
    if (has_cuda()) test::add_reference_record(top_p_slot, Number::float32, Device::cuda);
}

TEST_CASE("top_p: on the bound: crossing has S > p behind it, the other rule S <= p") {
    const std::vector<float> quarters{0.25f, 0.25f, 0.25f, 0.25f};  // exact sums
    CHECK(chosen(quarters, {.p = 0.75}) == Columns{0, 1, 2, 3});
    CHECK(chosen(quarters, {.p = 0.74}) == Columns{0, 1, 2});
    CHECK(chosen(quarters, {.p = 0.75, .crossing = false}) == Columns{0, 1, 2});
    CHECK(chosen(quarters, {.p = 0.74, .crossing = false}) == Columns{0, 1});
    CHECK(chosen(quarters, {.p = 0, .crossing = false}) == Columns{0});
    CHECK(chosen(quarters, {.p = 0, .keep = 0}) == Columns{0});
    CHECK(chosen(quarters, {.p = 0, .keep = 0, .crossing = false}) == Columns{});
    CHECK(chosen(quarters, {.p = 0, .keep = 9}) == Columns{0, 1, 2, 3});
}

TEST_CASE("top_p: p = 1 keeps every column though the sum rounds beyond 1; ties go to the lowest column") {
    const std::vector<float> rounded{0.6f, 0.3f, 0.1f + 1e-6f, 1e-9f};
    CHECK(chosen(rounded, {.p = 1}) == Columns{0, 1, 2, 3});
    CHECK(chosen(rounded, {.p = 1, .crossing = false}) == Columns{0, 1, 2, 3});
    CHECK(chosen({0, 0, 0}, {.p = 0.5}) == Columns{0, 1, 2});
    CHECK(chosen({0.2f, 0.4f, 0.4f}, {.p = 0.4, .crossing = false}) == Columns{1});
    CHECK(chosen({0.2f, 0.4f, 0.4f}, {.p = 0.3}) == Columns{1});
    CHECK(chosen({0.2f, 0.4f, 0.4f}, {.p = 1, .ratio = 1}) == Columns{1, 2});
    CHECK(chosen({0.2f, 0.4f, 0.4f}, {.p = 1, .ratio = 0.5}) == Columns{1, 2, 0});
}

TEST_CASE("top_p: a NaN is an error that names its token; a GPU puts it last and reports it") {
    const float none = std::numeric_limits<float>::quiet_NaN();
    const auto scores = Tensor<float>::from({3, 3}, {1, 0, 0, 0.5f, 0.5f, 0, 0.4f, none, 0.6f});
    Tape tape(test::context());
    CHECK_THROWS_WITH_AS(top_p(tape, scores, {}), doctest::Contains("NaN for token 2, column 1"), Error);
    if (!test::device_reports()) return;
    test::take_status();
    Tape there(test::cuda_context());
    const auto choice = host(top_p(there, placed(scores, Device::cuda), {.p = 1}));
    CHECK(choice.matrix()(2, 0) == 2);
    CHECK(choice.matrix()(2, 1) == 0);
    CHECK(test::take_status().not_finite == 1);
    top_p(there, placed(Tensor<float>::from({1, 3}, {1, 0, 0}), Device::cuda), {});
    CHECK_FALSE(test::take_status().any());
}

TEST_CASE("top_p: a replay returns what was recorded; shapes and options that do not fit are errors") {
    Selections selections;
    Tape first(test::context(), Mode::inference);
    first.set_selections(&selections);
    const auto choice = top_p(first, Tensor<float>::from({1, 3}, {0.1f, 0.8f, 0.1f}), {.p = 0.5});
    selections.rewind();
    Tape replay(test::context());
    replay.set_selections(&selections);
    CHECK(top_p(replay, Tensor<float>::from({1, 3}, {1, 0, 0}), {.p = 0.5}).data() == choice.data());
    Tape tape(test::context());
    const auto scores = Tensor<float>::zeros({2, 3});
    CHECK_THROWS_AS(top_p(tape, Tensor<float>::zeros({3}), {}), Error);
    CHECK_THROWS_AS(top_p(tape, scores, {.p = NAN}), Error);
    CHECK_THROWS_AS(top_p(tape, scores, {.ratio = -1}), Error);
    CHECK_THROWS_AS(top_p(tape, scores, {.keep = -1}), Error);
}
