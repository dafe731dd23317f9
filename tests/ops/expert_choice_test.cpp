#include <moegrad/ops/expert_choice.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

#include <algorithm>
#include <limits>

using namespace moegrad;

namespace {

/// By a full sort of every column of every group.
template <class Real>
Tensor<std::int32_t> choice_by_sorting(const Tensor<Real>& score, const Segments& segments, Index tokens_each,
                                       Index of, ChoiceGroup kind) {
    auto choice = Tensor<std::int32_t>::zeros(score.shape());
    std::fill(choice.values().begin(), choice.values().end(), kUnused);
    const Index groups = kind == ChoiceGroup::batch ? 1 : segments.count();
    for (Index g = 0; g < groups; ++g) {
        std::vector<Index> rows;
        for (Index t = 0; t < segments.tokens(); ++t) {
            const bool here = kind == ChoiceGroup::batch || segments.segment.data()[t] == g;
            if (here && segments.valid.data()[t] != 0) rows.push_back(t);
        }
        const Index n = static_cast<Index>(rows.size()), C = std::min(n, (n * tokens_each + of - 1) / of);
        for (Index e = 0; e < score.extent(1); ++e) {
            auto order = rows;
            std::stable_sort(order.begin(), order.end(),
                             [&](Index a, Index b) { return score.matrix()(a, e) > score.matrix()(b, e); });
            for (Index c = 0; c < C; ++c) {
                choice.matrix()(order[static_cast<std::size_t>(c)], e) = static_cast<std::int32_t>(e);
            }
        }
    }
    return choice;
}

/// Few distinct values of either sign where `coarse`: many ties.
template <class Real>
void check_choice(Context& context, const std::vector<Index>& lengths, Index E, bool coarse,
                  Index tokens_each, Index of, ChoiceGroup kind) {
    CAPTURE(E);
    CAPTURE(coarse);
    CAPTURE(tokens_each);
    auto segments = Segments::of_lengths(lengths);
    auto score = test::random_tensor<Real>({segments.tokens(), E}, 3);
    if (coarse) {
        for (Real& value : score.values()) value = Real(std::round(static_cast<double>(value)));
    }
    for (Index t = 0; t < segments.tokens(); t += 5) segments.valid.data()[t] = t % 3 != 0;
    const auto want = choice_by_sorting(score, segments, tokens_each, of, kind);
    Tape tape(context);
    const auto got =
        host(expert_choice(tape, test::tensor_on(context, score), placed(segments, context.device()),
                           static_cast<double>(tokens_each) / static_cast<double>(of), kind));
    CHECK(std::equal(got.values().begin(), got.values().end(), want.values().begin()));
}

template <class Real>
void check_choices(Context& context) {
    for (const std::vector<Index>& lengths :
         {std::vector<Index>{}, {0}, {1}, {7}, {31, 0, 33}, {97, 1, 203}}) {
        for (const ChoiceGroup kind : {ChoiceGroup::segment, ChoiceGroup::batch}) {
            for (const Index E : {1, 3, 8}) {
                for (const Index each : {1, 2, 8, 11}) {
                    check_choice<Real>(context, lengths, E, false, each, 8, kind);
                    check_choice<Real>(context, lengths, E, true, each, 8, kind);
                }
            }
        }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("expert_choice: a full sort gives the same tokens", Real, float, double) {
    check_choices<Real>(test::context());
    test::add_reference_record(expert_choice_slot, number_of<Real>());
}

TEST_CASE("expert_choice: the same on a GPU") {
    if (!has_cuda()) return;
    check_choices<float>(test::cuda_context());
    test::add_reference_record(expert_choice_slot, Number::float32, Device::cuda);
}

TEST_CASE("expert_choice: equal scores go to the lowest tokens; -0 equals 0; -infinity is a score") {
    const float low = -std::numeric_limits<float>::infinity();
    const auto score = Tensor<float>::from({4, 3}, {-0.0f, low, 1,  //
                                                    0.0f, low, 2,   //
                                                    -0.0f, -3, 2,   //
                                                    0.0f, low, 2});
    test::on_each_device([&](Context& context) {
        Tape tape(context);
        const auto got = host(expert_choice(tape, test::tensor_on(context, score),
                                            placed(Segments::of_lengths({4}), context.device()), 0.5,
                                            ChoiceGroup::segment));
        const std::vector<std::int32_t> want{0, 1, -1, 0, -1, 2, -1, 1, 2, -1, -1, -1};
        CHECK(std::equal(want.begin(), want.end(), got.values().begin()));
    });
}

TEST_CASE("expert_choice: capacity is rounded up, but not by rounding") {
    CHECK(choice_capacity(24, 0.125) == 3);
    CHECK(choice_capacity(25, 0.125) == 4);
    CHECK(choice_capacity(30, 0.1) == 3);
    CHECK(choice_capacity(10, 1.1 / 1.0) == 10);
    CHECK(choice_capacity(0, 0.5) == 0);
    CHECK(choice_capacity(1, 0.001) == 1);
}

TEST_CASE("expert_choice: a NaN is an error that names its token, or is reported") {
    auto score = Tensor<float>::zeros({5, 3});
    score.values()[3 * 3 + 2] = std::numeric_limits<float>::quiet_NaN();
    auto segments = Segments::of_lengths({5});
    Tape tape(test::context());
    CHECK_THROWS_WITH_AS(expert_choice(tape, score, segments, 0.5, ChoiceGroup::batch),
                         doctest::Contains("NaN for token 3, column 2"), Error);
    if (test::device_reports()) {
        test::take_status();
        Tape there(test::cuda_context());
        expert_choice(there, placed(score, Device::cuda), placed(segments, Device::cuda), 0.5,
                      ChoiceGroup::batch);
        CHECK(test::take_status().not_finite == 1);
    }
    segments.valid.data()[3] = 0;  // nobody reads padding
    CHECK_NOTHROW(expert_choice(tape, score, segments, 0.5, ChoiceGroup::batch));
    CHECK_THROWS_AS(expert_choice(tape, score, segments, 0, ChoiceGroup::batch), Error);
    CHECK_THROWS_AS(expert_choice(tape, score, Segments::of_lengths({4}), 0.5, ChoiceGroup::batch), Error);
}

TEST_CASE("expert_choice: a replay returns what was recorded") {
    Selections selections;
    Tape first(test::context(), Mode::inference);
    first.set_selections(&selections);
    const auto segments = Segments::of_lengths({2});
    const auto choice =
        expert_choice(first, Tensor<float>::from({2, 1}, {1, 2}), segments, 0.5, ChoiceGroup::batch);
    selections.rewind();
    Tape replay(test::context());
    replay.set_selections(&selections);
    const auto again =
        expert_choice(replay, Tensor<float>::from({2, 1}, {2, 1}), segments, 0.5, ChoiceGroup::batch);
    CHECK(again.data() == choice.data());
    CHECK(again.values()[1] == 0);
}
