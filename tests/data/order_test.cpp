#include <moegrad/data/order.hpp>

#include <doctest/doctest.h>

#include <algorithm>

using namespace moegrad;

namespace {
/// All picks of the steps [0, steps) one after another.
std::vector<std::int32_t> picks_of(SampleOrder order, Index steps) {
    std::vector<std::int32_t> all;
    for (Index n = 0; n < steps; ++n) {
        const auto picks = order.step(n);
        all.insert(all.end(), picks.begin(), picks.end());
    }
    return all;
}
}  // namespace

TEST_CASE("order: every epoch is a permutation, also where a step crosses into the next") {
    const auto all = picks_of(SampleOrder(10, 4, 1), 15);  // 60 picks, 6 epochs
    REQUIRE(all.size() == 60);
    std::vector<std::vector<std::int32_t>> epochs;
    for (std::size_t e = 0; e < 6; ++e) {
        std::vector<std::int32_t> epoch(all.begin() + static_cast<std::ptrdiff_t>(10 * e),
                                        all.begin() + static_cast<std::ptrdiff_t>(10 * e + 10));
        epochs.push_back(epoch);
        std::sort(epoch.begin(), epoch.end());
        for (std::int32_t i = 0; i < 10; ++i) CHECK(epoch[static_cast<std::size_t>(i)] == i);
    }
    for (std::size_t e = 1; e < 6; ++e) CHECK(epochs[e] != epochs[0]);
}

TEST_CASE("order: a step does not depend on the steps asked for before it") {
    SampleOrder order(10, 4, 1);
    const auto all = picks_of(SampleOrder(10, 4, 1), 15);
    for (const Index n : {14, 0, 7, 7, 2, 12}) {
        const auto picks = order.step(n);
        CHECK(std::equal(picks.begin(), picks.end(), all.begin() + 4 * n));
    }
}

TEST_CASE("order: seeds give other orders, and the size of a step does not matter") {
    CHECK(picks_of(SampleOrder(50, 5, 1), 10) != picks_of(SampleOrder(50, 5, 2), 10));
    CHECK(picks_of(SampleOrder(50, 5, 1), 10) == picks_of(SampleOrder(50, 10, 1), 5));
    CHECK(picks_of(SampleOrder(3, 7, 1), 3) ==
          picks_of(SampleOrder(3, 1, 1), 21));  // several epochs in a step
    CHECK(picks_of(SampleOrder(1, 2, 1), 1) == std::vector<std::int32_t>{0, 0});
}

TEST_CASE("order: epochs and steps") {
    const SampleOrder order(10, 4, 1);
    CHECK(order.epoch(0) == 0);
    CHECK(order.epoch(2) == 0);  // begins with sample 8 of epoch 0
    CHECK(order.epoch(3) == 1);
    CHECK(order.epoch(5) == 2);
    CHECK(order.steps(1) == 3);
    CHECK(order.steps(2) == 5);
    CHECK(order.steps(0.5) == 2);
    CHECK(order.steps(0) == 0);
    CHECK_THROWS_WITH_AS(SampleOrder(0, 4, 1), doctest::Contains("0 samples"), Error);
    CHECK_THROWS_AS(SampleOrder(4, 0, 1), Error);
}
