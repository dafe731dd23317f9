#include <moegrad/ops/token_task.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// Segments of T tokens, the third of no task and every fourth row padding.
Segments task_segments(Index T) {
    Segments segments = Segments::of_lengths({T / 2, 0, T / 4, T - T / 2 - T / 4});
    segments.task = Tensor<std::int32_t>::from({4}, {2, 9, kNoTask, 0});
    for (Index t = 0; t < T; ++t) segments.valid.data()[t] = t % 4 != 1;
    return segments;
}

template <class Real>
void check(Context& context, Index T) {
    const Segments segments = task_segments(T);
    Tape tape(context);
    const auto id = host(token_task<Real>(tape, placed(segments, context.device()), 4, 3));
    for (Index t = 0; t < T; ++t) {
        const std::int32_t want[] = {2, 9, 3, 0};
        CHECK(id.data()[t] == (t % 4 == 1 ? 0 : want[segments.segment.data()[t]]));
    }
    Segments without = segments;
    without.task = {};
    const auto usual = host(token_task<Real>(tape, placed(without, context.device()), 4, 3));
    for (Index t = 0; t < T; ++t) CHECK(usual.data()[t] == (t % 4 == 1 ? 0 : 3));
}

}  // namespace

TEST_CASE_TEMPLATE("token_task: of the segment, or the usual one", Real, float, double) {
    for (Index T : {0, 1, 7, 301}) check<Real>(test::context(), T);
    test::add_reference_record(token_task_slot, number_of<Real>());
}

TEST_CASE("token_task: the same on a GPU") {
    if (!has_cuda()) return;
    for (Index T : {0, 1, 7, 301}) check<float>(test::cuda_context(), T);
    test::add_reference_record(token_task_slot, Number::float32, Device::cuda);
}

TEST_CASE(
    "token_task: a token without a task or of an unknown one is an error; padding and empty samples are "
    "not") {
    Tape tape(test::context());
    auto segments = Segments::of_lengths({2, 3, 0});
    CHECK_THROWS_WITH_AS(token_task<float>(tape, segments, 4), doctest::Contains("a task for every sample"),
                         Error);
    segments.task = Tensor<std::int32_t>::from({3}, {0, kNoTask, 7});
    CHECK_THROWS_WITH_AS(token_task<float>(tape, segments, 4),
                         doctest::Contains("none for the sample of token 2"), Error);
    CHECK(token_task<float>(tape, segments, 4, 1).data()[2] == 1);
    segments.task.data()[1] = 4;
    CHECK_THROWS_WITH_AS(token_task<float>(tape, segments, 4),
                         doctest::Contains("4 for the sample of token 2"), Error);
    for (Index t : {2, 3, 4}) segments.valid.data()[t] = 0;
    token_task<float>(tape, segments, 4);
}

TEST_CASE("token_task: a GPU reports an unknown task") {
    if (!test::device_reports()) return;
    test::take_status();
    auto segments = Segments::of_lengths({2, 3});
    segments.task = Tensor<std::int32_t>::from({2}, {0, 4});
    Tape tape(test::cuda_context());
    const auto id = host(token_task<float>(tape, placed(segments, Device::cuda), 4));
    CHECK(id.data()[2] == 0);
    CHECK(test::take_status().bad_index == 1);
}
