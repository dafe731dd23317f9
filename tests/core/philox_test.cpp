#include <moegrad/core/philox.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <set>
#include <span>
#include <vector>

using moegrad::philox;
using moegrad::PhiloxCounter;
using moegrad::Random;

// Known answers of Random123 1.14 (tests/kat_vectors, "philox4x32 10").
static_assert(philox({0, 0, 0, 0}, {0, 0}) == PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
static_assert(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
              PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
static_assert(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
              PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});

static_assert(moegrad::uniform(0) == 0.0f && moegrad::uniform(0xffffffff) < 1.0f);
static_assert(moegrad::uniform(0x80000000) == 0.5f);
static_assert(moegrad::uniform_open(std::uint32_t{0}) > 0.0f && moegrad::uniform_open(0xffffffffu) < 1.0f);
static_assert(moegrad::uniform_open(0, 0) > 0.0 && moegrad::uniform_open(0xffffffffu, 0xffffffffu) < 1.0);

TEST_CASE("philox: known answers at run time too") {
    volatile std::uint32_t word = 0x243f6a88;
    PhiloxCounter got = philox({word, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0});
    CHECK(got == PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: the words are philox of (block, stream) under the seed, in order") {
    std::uint64_t seed = 0x123456789abcdef0u, stream = 0xfedcba9876543210u;
    Random random(seed, stream);
    for (std::uint32_t block = 0; block < 3; ++block) {
        PhiloxCounter expected = philox({block, 0, 0x76543210u, 0xfedcba98u}, {0x9abcdef0u, 0x12345678u});
        for (std::uint32_t word : expected) CHECK(random.next_word() == word);
    }
}

TEST_CASE("random: seeds and streams differ, equal ones agree") {
    std::set<std::uint32_t> first;
    for (std::uint64_t seed : {0u, 1u, 2u}) {
        for (std::uint64_t stream : {0u, 1u, 2u}) first.insert(Random(seed, stream).next_word());
    }
    CHECK(first.size() == 9);
    Random a(5, 6), b(5, 6);
    for (int i = 0; i < 100; ++i) {
        CHECK(a.next_normal() == b.next_normal());
        CHECK(a.next_below(10) == b.next_below(10));
    }
}

TEST_CASE("normal pairs are Box-Muller of the words") {
    for (std::uint32_t i = 0; i < 1000; ++i) {
        PhiloxCounter w = philox({i, 1, 2, 3}, {4, 5});
        auto open = [](std::uint32_t high, std::uint32_t low) {
            std::uint64_t bits = (std::uint64_t{high} << 32 | low) >> 12;
            return (static_cast<double>(bits) + 0.5) / 4503599627370496.0;
        };
        double radius = std::sqrt(-2.0 * std::log(open(w[0], w[1])));
        double angle = 2.0 * std::acos(-1.0) * open(w[2], w[3]);
        moegrad::NormalPair pair = moegrad::normal_pair(w);
        CHECK(pair.first == doctest::Approx(radius * std::cos(angle)).epsilon(1e-12));
        CHECK(pair.second == doctest::Approx(radius * std::sin(angle)).epsilon(1e-12));
    }
}

TEST_CASE("normals: moments and distribution function") {
    constexpr int count = 200000;
    std::vector<double> x;
    Random random(42);
    double sum = 0, square = 0, cube = 0, fourth = 0, neighbours = 0;
    for (int i = 0; i < count; ++i) {
        double v = random.next_normal();
        if (!x.empty()) neighbours += v * x.back();
        x.push_back(v);
        sum += v;
        square += v * v;
        cube += v * v * v;
        fourth += v * v * v * v;
    }
    // Five standard errors: sqrt(1, 2, 15, 96, 1) / sqrt(count).
    double unit = 5.0 / std::sqrt(static_cast<double>(count));
    CHECK(std::fabs(sum / count) < unit);
    CHECK(std::fabs(square / count - 1.0) < unit * std::sqrt(2.0));
    CHECK(std::fabs(cube / count) < unit * std::sqrt(15.0));
    CHECK(std::fabs(fourth / count - 3.0) < unit * std::sqrt(96.0));
    CHECK(std::fabs(neighbours / count) < unit);
    // Kolmogorov-Smirnov: beyond 1.95 / sqrt(n) with probability 0.001.
    std::sort(x.begin(), x.end());
    double distance = 0.0;
    for (int i = 0; i < count; ++i) {
        double expected = 0.5 * std::erfc(-x[static_cast<std::size_t>(i)] / std::sqrt(2.0));
        distance = std::max(distance, std::fabs(expected - (i + 0.5) / count));
    }
    CHECK(distance < 1.95 / std::sqrt(static_cast<double>(count)));
}

TEST_CASE("next_below: in range and without bias") {
    Random random(7);
    // With words cut to their remainder, a bound of 3 * 2^62 would make the first 2^62 values twice as
    // likely.
    std::uint64_t bound = std::uint64_t{3} << 62, third = std::uint64_t{1} << 62;
    int low = 0;
    for (int i = 0; i < 30000; ++i) {
        std::uint64_t v = random.next_below(bound);
        CHECK_MESSAGE(v < bound, v);
        if (v < third) ++low;
    }
    CHECK(std::abs(low - 10000) < 5 * 82);  // standard deviation sqrt(30000 * 2/9) = 82
    std::array<int, 10> counts{};
    for (int i = 0; i < 100000; ++i) ++counts[static_cast<std::size_t>(random.next_below(10))];
    double chi_square = 0.0;
    for (int n : counts) chi_square += (n - 10000.0) * (n - 10000.0) / 10000.0;
    CHECK(chi_square < 27.9);  // 9 degrees of freedom, probability 0.001
    CHECK(random.next_below(1) == 0);
}

TEST_CASE("shuffle: a permutation, seeded, and every order equally likely") {
    std::vector<int> a(100), b;
    for (int i = 0; i < 100; ++i) a[static_cast<std::size_t>(i)] = i;
    b = a;
    Random first(3), second(3);
    moegrad::shuffle(std::span<int>(a), first);
    CHECK(a != b);
    std::vector<int> again = b;
    moegrad::shuffle(std::span<int>(again), second);
    CHECK(a == again);
    std::sort(a.begin(), a.end());
    CHECK(a == b);

    std::array<int, 64> orders{};
    Random random(11);
    for (int i = 0; i < 60000; ++i) {
        std::array<int, 3> items{0, 1, 2};
        moegrad::shuffle(std::span<int>(items), random);
        ++orders[static_cast<std::size_t>(items[0] * 16 + items[1] * 4 + items[2])];
    }
    double chi_square = 0.0;
    int seen = 0;
    for (int n : orders) {
        if (n == 0) continue;
        ++seen;
        chi_square += (n - 10000.0) * (n - 10000.0) / 10000.0;
    }
    CHECK(seen == 6);
    CHECK(chi_square < 20.5);  // 5 degrees of freedom, probability 0.001
}
