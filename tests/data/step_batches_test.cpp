#include <moegrad/data/step_batches.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

Dataset three_samples() {
    Dataset data{language_sample({5, 6, 7}), language_sample({1, 2}), language_sample({9, 8, 7, 6, 5})};
    data[2].target[0] = kIgnoreTarget;
    return data;
}

std::vector<std::int32_t> values(const Tensor<std::int32_t>& tensor, Index count) {
    return {tensor.data(), tensor.data() + count};
}

}  // namespace

TEST_CASE("step batches: padded extents are few, never less than asked, and at most a sixteenth more") {
    CHECK(padded_extent(0) == 0);
    CHECK(padded_extent(1) == 16);
    CHECK(padded_extent(4096) == 4096);
    CHECK(padded_extent(4097) == 4352);
    Index sizes = 0, last = 0;
    for (Index n = 1; n <= 8192; ++n) {
        const Index padded = padded_extent(n);
        CHECK(padded >= n);
        CHECK(padded % 16 == 0);
        if (n >= 256) CHECK(padded - n < n / 15);
        sizes += padded != std::exchange(last, padded);
    }
    CHECK(sizes <= 16 * 6);
    CHECK(padded_shape(100, 8, 50, 30) == BatchShape{112, 16, 64, 64});
    CHECK(padded_shape(100, 7, 50, 65) == BatchShape{112, 8, 64, 128});
}

TEST_CASE("step batches: the rows of a batch, then padding that is valid nowhere") {
    StepBatches batches;
    const Dataset data = three_samples();
    batches.send(data, {{2, 0}, {1}}, Device::cpu);
    REQUIRE(batches.count() == 2);
    const Batch batch = batches.batch(0);
    const Batch plain = make_batch(data, std::vector<std::int32_t>{2, 0});
    CHECK(batches.shape(0) == BatchShape{16, 8, 16, 64});
    const Segments &s = batch.segments, &want = plain.segments;
    CHECK(values(batch.token, 8) == values(plain.token, 8));
    CHECK(values(batch.target, 8) == values(plain.target, 8));
    CHECK(values(s.position, 8) == values(want.position, 8));
    CHECK(values(s.sample, 8) == values(want.sample, 8));
    CHECK(values(s.segment, 8) == values(want.segment, 8));
    CHECK(values(s.begin, 9) == std::vector<std::int32_t>{0, 5, 8, 16, 16, 16, 16, 16, 16});
    CHECK(s.longest == 64);
    for (Index t = 0; t < 16; ++t) {
        CHECK(s.valid.data()[t] == (t < 8));
        if (t < 8) continue;
        CHECK(batch.token.data()[t] == 0);
        CHECK(batch.target.data()[t] == kIgnoreTarget);
        CHECK(s.sample.data()[t] == -1);
        CHECK(s.position.data()[t] == t - 8);
        CHECK(s.segment.data()[t] == 2);
    }
    CHECK(values(batch.row, 6) == std::vector<std::int32_t>{1, 2, 3, 5, 6, -1});
    CHECK(batch.row.data()[15] == -1);

    const Batch second = batches.batch(1);
    CHECK(values(second.token, 2) == std::vector<std::int32_t>{1, 2});
    CHECK(values(second.segments.begin, 3) == std::vector<std::int32_t>{0, 2, 16});
}

TEST_CASE(
    "step batches: tasks travel with their samples; padding has none, and a file without tasks sends none") {
    StepBatches batches;
    Dataset data = three_samples();
    batches.send(data, {{2, 0}, {1}}, Device::cpu);
    CHECK_FALSE(batches.batch(0).segments.task.defined());
    CHECK_FALSE(make_batch(data, std::vector<std::int32_t>{2, 0}).segments.task.defined());
    const BatchShape without = batches.shape(0);
    data[0].task = 4;
    data[2].task = 7;
    batches.send(data, {{2, 0}, {1}}, Device::cpu);
    CHECK(values(batches.batch(0).segments.task, 8) ==
          std::vector<std::int32_t>{7, 4, kNoTask, kNoTask, kNoTask, kNoTask, kNoTask, kNoTask});
    CHECK_FALSE(batches.batch(1).segments.task.defined());
    CHECK(batches.shape(0) != without);  // another recorded graph
    CHECK(values(make_batch(data, std::vector<std::int32_t>{1, 2}).segments.task, 2) ==
          std::vector<std::int32_t>{kNoTask, 7});
    const BatchShape shape = batches.shape(0);
    const auto numbers = Tensor<std::int32_t>::zeros({batch_numbers(shape)});
    const auto flags = Tensor<std::uint8_t>::zeros({batch_flags(shape)});
    batches.copy_to(0, numbers, flags);
    CHECK(values(batch_in(shape, numbers, flags).segments.task, 2) == std::vector<std::int32_t>{7, 4});
    CHECK(values(batch_in(shape, numbers, flags).segments.begin, 3) == std::vector<std::int32_t>{0, 5, 8});
}

TEST_CASE("step batches: a copy is a batch of its own") {
    StepBatches batches;
    const Dataset data = three_samples();
    batches.send(data, {{0}, {1, 2}}, Device::cpu);
    const BatchShape shape = batches.shape(1);
    const auto numbers = Tensor<std::int32_t>::zeros({batch_numbers(shape)});
    const auto flags = Tensor<std::uint8_t>::zeros({batch_flags(shape)});
    const Batch copy = batch_in(shape, numbers, flags);
    batches.copy_to(1, numbers, flags);
    batches.send(data, {{2}}, Device::cpu);
    CHECK(values(copy.token, 7) == std::vector<std::int32_t>{1, 2, 9, 8, 7, 6, 5});
    CHECK(copy.segments.valid.data()[6] == 1);
    CHECK(copy.segments.valid.data()[7] == 0);
}
