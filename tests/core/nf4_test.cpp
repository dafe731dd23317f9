// NF4: golden values of the code book, the codes and the map; layout; tails; blocks of zeros; the error of
// the scales.

#include <moegrad/core/nf4.hpp>
#include <moegrad/core/philox.hpp>

#include <doctest/doctest.h>

#include <bit>

using namespace moegrad;

namespace {

Nf4Matrix quantised(const Shape& shape, const std::vector<float>& values, std::size_t piece = 1000) {
    Nf4Quantiser quantiser(shape);
    for (std::size_t begin = 0; begin < values.size(); begin += piece) {
        quantiser.add(std::span(values).subspan(begin, std::min(piece, values.size() - begin)));
    }
    return quantiser.finish();
}
int code_at(const Nf4Matrix& matrix, Index i) {
    const int both = matrix.code.data()[i / 2];
    return i % 2 == 0 ? both >> 4 : both & 15;
}
float maximum_at(const Nf4Matrix& matrix, Index block) {
    return nf4_maximum(nf4_map(matrix.scale.data()[block]), matrix.large.data()[block / kNf4ScaleBlock],
                       matrix.mean);
}
std::vector<float> normal(std::size_t n) {
    Random random(5);
    std::vector<float> values(n);
    for (float& value : values) value = static_cast<float>(random.next_normal());
    return values;
}

}  // namespace

TEST_CASE("nf4: the code book, bit by bit") {
    const std::uint32_t bits[16] = {0xbf800000, 0xbf3239b1, 0xbf066b30, 0xbeca32a0, 0xbe91a24d, 0xbe3d353f,
                                    0xbdba7871, 0x00000000, 0x3da2faff, 0x3e24cae3, 0x3e7c04dd, 0x3ead033a,
                                    0x3ee1a4b8, 0x3f1007ab, 0x3f3913b3, 0x3f800000};
    for (int code = 0; code < 16; ++code) CHECK(std::bit_cast<std::uint32_t>(nf4_value(code)) == bits[code]);
}

TEST_CASE("nf4: golden codes, ties go down, every value of the book comes back to its code") {
    const std::pair<float, int> golden[] = {{0.3f, 11}, {-0.3f, 4}, {0.02f, 7},
                                            {0.04f, 8}, {-0.9f, 0}, {1.0f, 15}};
    for (const auto& [x, code] : golden) CHECK(Nf4Quantiser::code_of(x) == code);
    for (int code = 0; code < 16; ++code) {
        CHECK(Nf4Quantiser::code_of(nf4_value(code)) == code);
        if (code == 15) continue;
        const float middle = (nf4_value(code) + nf4_value(code + 1)) / 2;
        CHECK(Nf4Quantiser::code_of(middle) == code);
        CHECK(Nf4Quantiser::code_of(std::nextafter(middle, 2.0f)) == code + 1);
    }
}

TEST_CASE("nf4: the map has 256 values upwards, with 1 and without -1") {
    for (int i = 0; i < 255; ++i) CHECK(nf4_map(i) < nf4_map(i + 1));
    CHECK(nf4_map(0) == -0.99296875f);
    CHECK(nf4_map(254) == 0.99296875f);
    CHECK(nf4_map(255) == 1.0f);
    CHECK(nf4_map(127) == 0.0f);
    CHECK(nf4_map(128) == doctest::Approx(0.55e-6));
    CHECK(nf4_map(129) == doctest::Approx(3.25e-6));
    for (int i = 1; i < 128; ++i) CHECK(nf4_map(127 + i) == -nf4_map(127 - i));
}

TEST_CASE("nf4: one block, layout and values") {
    std::vector<float> values(64, 0.0f);
    values[0] = 2.0f, values[1] = -2.0f, values[2] = 0.6f, values[63] = -0.6f;
    const auto matrix = quantised({8, 8}, values);
    CHECK(matrix.code.data()[0] == 0xf0);
    CHECK(matrix.code.data()[1] == 0xb7);
    CHECK(matrix.code.data()[31] == 0x74);
    CHECK(matrix.mean == 2.0f);
    CHECK(maximum_at(matrix, 0) == 2.0f);
    CHECK(matrix.bytes() == 32 + 1 + 4);
}

TEST_CASE("nf4: blocks of zeros, an odd tail, a partial block, pieces of any size") {
    auto values = normal(64 * 3 + 5);
    for (std::size_t i = 64; i < 128; ++i) values[i] = 0;
    const auto matrix = quantised({1, 197}, values);
    for (Index i = 64; i < 128; ++i) CHECK(code_at(matrix, i) == kNf4Zero);
    CHECK(matrix.code.size() == 99);
    CHECK(matrix.scale.size() == 4);
    float largest = 0;
    for (std::size_t i = 192; i < 197; ++i) largest = std::max(largest, std::fabs(values[i]));
    for (std::size_t i = 192; i < 197; ++i) {
        CHECK(code_at(matrix, static_cast<Index>(i)) == Nf4Quantiser::code_of(values[i] * (1 / largest)));
    }
    for (const std::size_t piece : {1, 63, 64, 65}) {
        const auto again = quantised({1, 197}, values, piece);
        for (Index i = 0; i < 99; ++i) CHECK(again.code.data()[i] == matrix.code.data()[i]);
    }
    const auto nothing = quantised({3, 4}, std::vector<float>(12, 0.0f));
    for (Index i = 0; i < 12; ++i) CHECK(code_at(nothing, i) == kNf4Zero);
    CHECK(quantised({0, 4}, {}).code.size() == 0);
}

TEST_CASE("nf4: the error of the scales") {
    const auto values = normal(64 * 600);
    const auto matrix = quantised({600, 64}, values);
    CHECK(8.0 * static_cast<double>(matrix.bytes()) / (64 * 600) == doctest::Approx(4.127).epsilon(1e-3));
    for (Index block = 0; block < 600; ++block) {
        float largest = 0;
        for (Index i = 0; i < 64; ++i) {
            largest = std::max(largest, std::fabs(values[static_cast<std::size_t>(block * 64 + i)]));
        }
        // Half of the widest gap of the map, 0.9 / 64 and next to 1 and -1 a little more.
        CHECK(std::fabs(maximum_at(matrix, block) - largest) <= 0.0075f * matrix.large.data()[block / 256]);
    }
}

TEST_CASE("nf4: too few, too many and values that are no numbers are errors") {
    Nf4Quantiser quantiser(Shape{1, 2});
    const float values[] = {1, 2, 3}, bad[] = {INFINITY};
    CHECK_THROWS_AS(quantiser.add(values), Error);
    CHECK_THROWS_AS(quantiser.add(bad), Error);
    CHECK_THROWS_AS(quantiser.finish(), Error);
    CHECK_THROWS_AS(Nf4Quantiser(Shape{2, 3, 5}), Error);
}
