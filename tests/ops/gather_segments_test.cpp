#include <moegrad/ops/gather_segments.hpp>

#include "support/device_status.hpp"
#include "support/op_check.hpp"

#include <algorithm>

using namespace moegrad;

namespace {

template <class T>
std::vector<T> list(const Tensor<T>& tensor) {
    const auto there = host(tensor);
    return {there.values().begin(), there.values().end()};
}

/// Row by row, and segment lengths by counting.
void check_gathered(Context& context, const std::vector<Index>& lengths, Index step, Index none) {
    std::vector<std::int32_t> samples;
    for (std::size_t s = 0; s < lengths.size(); ++s) samples.push_back(static_cast<std::int32_t>(10 * s + 3));
    auto segments = Segments::of_lengths(lengths, samples);
    const Index T = segments.tokens(), S = segments.count();
    auto token = Tensor<std::int32_t>::zeros({T});
    std::vector<std::int32_t> rows;
    std::vector<Index> count(lengths.size(), 0);
    for (Index t = 0; t < T; ++t) {
        token.data()[t] = static_cast<std::int32_t>(100 + t);
        segments.valid.data()[t] = t % 7 != 2;
        if (t % step != 0) continue;
        rows.push_back(static_cast<std::int32_t>(t));
        ++count[static_cast<std::size_t>(segments.segment.data()[t])];
    }
    const Index found = static_cast<Index>(rows.size());
    rows.insert(rows.end(), static_cast<std::size_t>(S == 0 ? 0 : none), -1);
    auto index = Tensor<std::int32_t>::zeros({static_cast<Index>(rows.size())});
    std::copy(rows.begin(), rows.end(), index.values().begin());

    Tape tape(context);
    const auto got = gather_segments(tape, placed(segments, context.device()),
                                     test::tensor_on(context, token), test::tensor_on(context, index));
    const auto position = list(got.segments.position), sample = list(got.segments.sample),
               segment = list(got.segments.segment), ids = list(got.token), row = list(got.row),
               begin = list(got.segments.begin);
    const auto valid = list(got.segments.valid);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::int32_t t = rows[i];
        CHECK(row[i] == (t < 0 ? -1 : static_cast<std::int32_t>(i)));
        CHECK(valid[i] == (t < 0 ? 0 : segments.valid.data()[t]));
        CHECK(segment[i] == (t < 0 ? S - 1 : segments.segment.data()[t]));
        if (t < 0) continue;
        CHECK(position[i] == segments.position.data()[t]);
        CHECK(sample[i] == segments.sample.data()[t]);
        CHECK(ids[i] == 100 + t);
    }
    Index first = 0;
    for (Index s = 0; s < S; ++s) {
        CHECK(begin[static_cast<std::size_t>(s)] == first);
        first += count[static_cast<std::size_t>(s)];
    }
    CHECK(first == found);
    CHECK(begin.back() == static_cast<std::int32_t>(rows.size()));
    CHECK(got.segments.longest == segments.longest);
}

void check_gathered(Context& context) {
    for (const std::vector<Index>& lengths :
         {std::vector<Index>{}, {0}, {1}, {7}, {0, 5, 0, 31, 1, 0}, {97, 203}}) {
        for (const Index step : {1, 3, 8}) {
            for (const Index none : {0, 1, 6}) check_gathered(context, lengths, step, none);
        }
    }
}

}  // namespace

TEST_CASE("gather_segments: rows keep what they were; segments get shorter") {
    check_gathered(test::context());
    test::add_reference_record(gather_segments_slot, Number::float32);
    if (!has_cuda()) return;
    check_gathered(test::cuda_context());
    test::add_reference_record(gather_segments_slot, Number::float32, Device::cuda);
}

TEST_CASE("gather_segments: shapes that do not fit are errors") {
    Tape tape(test::context());
    const auto segments = Segments::of_lengths({3});
    const auto three = Tensor<std::int32_t>::zeros({3});
    CHECK_THROWS_AS(gather_segments(tape, segments, Tensor<std::int32_t>::zeros({2}), three), Error);
    CHECK_THROWS_AS(gather_segments(tape, segments, three, Tensor<std::int32_t>::zeros({3, 1})), Error);
}

TEST_CASE("gather_segments: a row beyond the batch is an error; a GPU takes nothing and reports it") {
    const auto run = [](Context& context, std::int32_t last) {
        Tape tape(context);
        const auto index = Tensor<std::int32_t>::from({2}, {1, last});
        const auto got = gather_segments(tape, placed(Segments::of_lengths({1, 2}), context.device()),
                                         placed(Tensor<std::int32_t>::from({3}, {5, 6, 7}), context.device()),
                                         placed(index, context.device()));
        CHECK(list(got.row) == std::vector<std::int32_t>{0, -1});
        CHECK(list(got.token) == std::vector<std::int32_t>{6, 0});
        CHECK(list(got.segments.begin) == std::vector<std::int32_t>{0, 0, 2});
        CHECK(list(got.segments.valid) == std::vector<std::uint8_t>{1, 0});
    };
    run(test::context(), -1);
    CHECK_THROWS_WITH_AS(run(test::context(), 3), doctest::Contains("3 at 1"), Error);
    if (!test::device_reports()) return;
    test::take_status();
    run(test::cuda_context(), -1);
    CHECK_FALSE(test::take_status().any());
    run(test::cuda_context(), 3);
    CHECK(test::take_status().bad_index == 1);
}
