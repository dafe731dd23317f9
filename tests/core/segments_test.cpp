#include <moegrad/core/segments.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {
template <class T>
std::vector<int> list(const Tensor<T>& t) {
    return {t.values().begin(), t.values().end()};
}
}  // namespace

TEST_CASE("segments: begin, position, segment and sample of ragged lengths") {
    const std::vector<Index> lengths{2, 3, 1};
    const std::vector<std::int32_t> samples{7, 5, 9};
    const auto s = Segments::of_lengths(lengths, samples);
    CHECK(s.count() == 3);
    CHECK(s.tokens() == 6);
    CHECK(list(s.begin) == std::vector<int>{0, 2, 5, 6});
    CHECK(list(s.position) == std::vector<int>{0, 1, 0, 1, 2, 0});
    CHECK(list(s.segment) == std::vector<int>{0, 0, 1, 1, 1, 2});
    CHECK(list(s.sample) == std::vector<int>{7, 7, 5, 5, 5, 9});
    CHECK(list(s.valid) == std::vector<int>(6, 1));
}

TEST_CASE("segments: samples count from 0 by default; a segment may be empty") {
    const auto s = Segments::of_lengths({2, 0, 1});
    CHECK(list(s.begin) == std::vector<int>{0, 2, 2, 3});
    CHECK(list(s.sample) == std::vector<int>{0, 0, 2});
    CHECK(Segments::of_lengths({}).tokens() == 0);
    CHECK(Segments().count() == 0);
    CHECK(Segments().tokens() == 0);
}
