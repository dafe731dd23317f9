#include <moegrad/data/dataset.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {
using Ids = std::vector<std::int32_t>;

template <class T>
std::vector<int> list(const Tensor<T>& t) {
    return {t.values().begin(), t.values().end()};
}

Ids counting(std::int32_t count) {
    Ids ids;
    for (std::int32_t i = 0; i < count; ++i) ids.push_back(i);
    return ids;
}
}  // namespace

TEST_CASE("dataset: a sample predicts its own next tokens") {
    const auto sample = language_sample({5, 6, 7});
    CHECK(sample.token == Ids{5, 6, 7});
    CHECK(sample.target == Ids{6, 7, kIgnoreTarget});
    CHECK(sample.supervised() == 2);
    CHECK(language_sample({5}).supervised() == 0);
    CHECK(language_sample({}).target.empty());
}

TEST_CASE("dataset: a text is cut without losing or repeating an id") {
    const auto samples = text_samples(counting(10), 4);
    REQUIRE(samples.size() == 3);
    CHECK(samples[0].token == Ids{0, 1, 2, 3});
    CHECK(samples[1].token == Ids{4, 5, 6, 7});
    CHECK(samples[2].token == Ids{8, 9});
    CHECK(samples[2].target == Ids{9, kIgnoreTarget});
    CHECK(text_samples(counting(9), 4).size() == 2);  // one id left over predicts nothing
    CHECK(text_samples(counting(8), 4).size() == 2);
    CHECK(text_samples({}, 4).empty());
}

TEST_CASE("dataset: a prefix starts every sample and counts into its length") {
    const Ids prefix{90, 91};
    const auto samples = text_samples(counting(7), 5, prefix);
    REQUIRE(samples.size() == 3);
    CHECK(samples[0].token == Ids{90, 91, 0, 1, 2});
    CHECK(samples[1].token == Ids{90, 91, 3, 4, 5});
    CHECK(samples[2].token == Ids{90, 91, 6});
    CHECK(samples[2].supervised() == 2);
}

TEST_CASE("dataset: a length with no room for text is an error") {
    const Ids prefix{90, 91};
    CHECK_THROWS_WITH_AS(text_samples(counting(7), 2, prefix), doctest::Contains("at least 4"), Error);
    CHECK_THROWS_WITH_AS(text_samples(counting(7), 1), doctest::Contains("data.max_length"), Error);
    CHECK_THROWS_AS(text_samples(counting(7), 0), Error);
}

TEST_CASE("dataset: a batch lays its samples one after another, under their own ids") {
    const Dataset data{language_sample({1, 2}), language_sample({3, 4, 5}), language_sample({6})};
    const Ids picks{1, 0};
    const Batch batch = make_batch(data, picks);
    CHECK(list(batch.token) == std::vector<int>{3, 4, 5, 1, 2});
    CHECK(list(batch.target) == std::vector<int>{4, 5, kIgnoreTarget, 2, kIgnoreTarget});
    CHECK(list(batch.segments.begin) == std::vector<int>{0, 3, 5});
    CHECK(list(batch.segments.position) == std::vector<int>{0, 1, 2, 0, 1});
    CHECK(list(batch.segments.sample) == std::vector<int>{1, 1, 1, 0, 0});
}
