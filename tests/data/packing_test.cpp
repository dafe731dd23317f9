#include <moegrad/data/packing.hpp>

#include <doctest/doctest.h>

#include <algorithm>

using namespace moegrad;

namespace {

/// 2 to 19 tokens.
std::vector<Index> ragged_lengths(std::size_t count, std::uint64_t seed = 1) {
    Random random(seed);
    std::vector<Index> lengths;
    for (std::size_t i = 0; i < count; ++i) lengths.push_back(2 + static_cast<Index>(random.next_below(18)));
    return lengths;
}

}  // namespace

TEST_CASE("packing: next fit by hand") {
    const std::vector<Index> lengths{5, 4, 3, 8, 1, 8};
    const std::vector<std::int32_t> order{0, 1, 2, 3, 4, 5};
    // 5 + 4 = 9, 3 does not fit into 10; 3, and 8 does not; 8 + 1; 8.
    const std::vector<std::vector<std::int32_t>> want{{0, 1}, {2}, {3, 4}, {5}};
    CHECK(pack_samples(order, lengths, 10).packs == want);
    CHECK(pack_samples(order, lengths, 29).packs.size() == 1);
    CHECK(pack_samples({}, lengths, 10).packs.empty());
}

TEST_CASE(
    "packing: every epoch has every sample once, in the order of SampleOrder, and no pack is too long") {
    const auto lengths = ragged_lengths(53);
    PackedOrder order(lengths, 32, 3, 7);
    SampleOrder plain(53, 1, 7);
    std::vector<std::int32_t> picks, want;
    for (Index n = 0; n < order.steps(3); ++n) {
        for (const auto& pack : order.packs(n)) {
            Index tokens = 0;
            for (const std::int32_t sample : pack) tokens += lengths[static_cast<std::size_t>(sample)];
            CHECK(tokens <= 32);
            CHECK_FALSE(pack.empty());
        }
        const auto step = order.step(n);
        picks.insert(picks.end(), step.begin(), step.end());
    }
    for (Index i = 0; i < 3 * 53; ++i) want.push_back(plain.step(i).front());
    REQUIRE(picks.size() >= want.size());
    CHECK(std::equal(want.begin(), want.end(), picks.begin()));
    CHECK(picks.size() < want.size() + 53);
    CHECK(order.fill(0) > 0.5);
    CHECK(order.fill(0) <= 1);
}

TEST_CASE("packing: stateless, keyed by seed and epoch, micro-batches of whole packs") {
    const auto lengths = ragged_lengths(40);
    PackedOrder forward(lengths, 40, 4, 3);
    std::vector<std::vector<std::int32_t>> steps;
    std::vector<Index> epochs;
    for (Index n = 0; n < 30; ++n) {
        steps.push_back(forward.step(n));
        epochs.push_back(forward.epoch(n));
    }
    CHECK(epochs.front() == 0);
    CHECK(epochs.back() > 2);
    CHECK(std::is_sorted(epochs.begin(), epochs.end()));
    for (const Index n : {29, 0, 13, 13, 7, 28}) {
        PackedOrder fresh(lengths, 40, 4, 3);
        CHECK(fresh.step(n) == steps[static_cast<std::size_t>(n)]);
        CHECK(fresh.epoch(n) == epochs[static_cast<std::size_t>(n)]);
        CHECK(forward.step(n) == steps[static_cast<std::size_t>(n)]);
        for (const Index packs : {1, 2, 3, 4, 9}) {
            std::vector<std::int32_t> joined;
            const auto cuts = forward.micro_batches(n, packs);
            CHECK(static_cast<Index>(cuts.size()) == (4 + packs - 1) / packs);
            for (const auto& cut : cuts) joined.insert(joined.end(), cut.begin(), cut.end());
            CHECK(joined == steps[static_cast<std::size_t>(n)]);
        }
        CHECK(forward.micro_batches(n, 1) == forward.packs(n));
    }
    CHECK(PackedOrder(lengths, 40, 4, 4).step(0) != steps[0]);
    CHECK(PackedOrder(lengths, 40, 2, 3).step(0).size() < steps[0].size());
}

TEST_CASE("packing: steps of epochs and of parts of one") {
    const std::vector<Index> lengths(10, 5);  // packs of two, five an epoch
    PackedOrder order(lengths, 10, 2, 1);
    CHECK(order.steps(1) == 3);
    CHECK(order.steps(2) == 5);
    CHECK(order.steps(0.4) == 1);
    CHECK(order.steps(0) == 0);
    CHECK(order.epoch(2) == 0);  // begins with pack 4 of epoch 0
    CHECK(order.epoch(3) == 1);
    CHECK(order.fill(1) == doctest::Approx(1));
}

TEST_CASE("packing: what cannot be packed") {
    CHECK_THROWS_WITH_AS(PackedOrder({3, 11}, 10, 1, 1), doctest::Contains("sample 1"), Error);
    CHECK_THROWS_AS(PackedOrder({3, 0}, 10, 1, 1), Error);
    CHECK_THROWS_AS(PackedOrder({}, 10, 1, 1), Error);
    CHECK_THROWS_AS(PackedOrder({3}, 10, 0, 1), Error);
    PackedOrder order({3}, 10, 1, 1);
    CHECK_THROWS_AS(order.micro_batches(0, 0), Error);
    CHECK(order.step(5) == std::vector<std::int32_t>{0});
}
