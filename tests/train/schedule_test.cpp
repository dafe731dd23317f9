#include <moegrad/train/schedule.hpp>

#include <doctest/doctest.h>

using namespace moegrad;
using Decay = LearningRate::Shape;

TEST_CASE("learning rate: warm-up rises in equal steps to the peak") {
    const LearningRate rate{.peak = 2, .warmup = 4};
    CHECK(rate.at(0, 12) == 0.5);
    CHECK(rate.at(1, 12) == 1);
    CHECK(rate.at(3, 12) == 2);
    CHECK(rate.at(4, 12) == 2);
    CHECK(rate.at(11, 12) == 2);
    CHECK(LearningRate{.peak = 2}.at(0, 12) == 2);
}

TEST_CASE("learning rate: linear and cosine go from the peak to the floor") {
    const LearningRate linear{.peak = 1, .warmup = 4, .shape = Decay::linear};
    CHECK(linear.at(4, 12) == 1);
    CHECK(linear.at(8, 12) == 0.5);
    CHECK(linear.at(11, 12) == 0.125);
    CHECK(linear.at(12, 12) == 0);
    CHECK(linear.at(99, 12) == 0);
    const LearningRate cosine{.peak = 1, .warmup = 4, .shape = Decay::cosine, .floor = 0.1};
    CHECK(cosine.at(4, 12) == doctest::Approx(1).epsilon(1e-14));
    CHECK(cosine.at(6, 12) ==
          doctest::Approx(0.1 + 0.9 * 0.8535533905932737).epsilon(1e-14));  // (1 + cos 45) / 2
    CHECK(cosine.at(8, 12) == doctest::Approx(0.55).epsilon(1e-14));
    CHECK(cosine.at(12, 12) == doctest::Approx(0.1).epsilon(1e-14));
    CHECK(linear.at(4, 4) == 1);  // nothing but warm-up
}

TEST_CASE("learning rate: names") {
    CHECK(LearningRate::named("cosine") == Decay::cosine);
    CHECK(LearningRate::named("linear") == Decay::linear);
    CHECK(LearningRate::named("constant") == Decay::constant);
    CHECK_THROWS_WITH_AS(LearningRate::named("cos"), doctest::Contains("constant, linear or cosine"), Error);
}

TEST_CASE("epoch coefficient: one per epoch, the last one held") {
    const EpochCoefficient annealed{{0.02, 0.0001}};
    CHECK(annealed.at(0) == 0.02);
    CHECK(annealed.at(1) == 0.0001);
    CHECK(annealed.at(7) == 0.0001);
    CHECK(EpochCoefficient{}.at(3) == 0);
    CHECK(EpochCoefficient{{}}.at(0) == 0);
}
