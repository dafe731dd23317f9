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

TEST_CASE("learning rate: warm-up, stable, decay ends in 1 - sqrt of the way through the last steps") {
    // 20 steps: 0-3 rise, 4-11 at the peak, 12-19 decay. d = (n - 12) / 8 with exact roots at 2/8 = 1/4 and 18/32.
    const LearningRate rate{.peak = 2, .warmup = 4, .shape = Decay::wsd, .decay = 8};
    CHECK(rate.at(1, 20) == 1);
    for (Index n = 4; n <= 12; ++n) CHECK(rate.at(n, 20) == 2);
    CHECK(rate.at(14, 20) == 1);                                                       // 2 (1 - sqrt 1/4)
    CHECK(rate.at(16, 20) == doctest::Approx(2 - 1.4142135623730951).epsilon(1e-14));  // 2 (1 - sqrt 1/2)
    CHECK(rate.at(19, 20) == doctest::Approx(2 - 1.8708286933869707).epsilon(1e-14));  // 2 (1 - sqrt 7/8)
    CHECK(rate.at(20, 20) == 0);
    CHECK(rate.at(99, 20) == 0);
    const LearningRate floored{.peak = 1, .shape = Decay::wsd, .floor = 0.2, .decay = 4};
    CHECK(floored.at(9, 13) == 1);
    CHECK(floored.at(10, 13) == doctest::Approx(0.2 + 0.8 * 0.5).epsilon(1e-14));
    CHECK(floored.at(13, 13) == doctest::Approx(0.2).epsilon(1e-14));
}

TEST_CASE(
    "learning rate: a wsd decay of no given length is a tenth of the run, and never begins inside the "
    "warm-up") {
    const LearningRate rate{.peak = 1, .warmup = 2, .shape = Decay::wsd};
    CHECK(rate.decay_begin(100) == 90);
    CHECK(rate.at(90, 100) == 1);
    CHECK(rate.at(91, 100) == doctest::Approx(1 - 0.31622776601683794).epsilon(1e-14));  // 1 - sqrt 1/10
    CHECK(rate.decay_begin(5) == 4);
    const LearningRate longer{.peak = 1, .warmup = 6, .shape = Decay::wsd, .decay = 50};
    CHECK(longer.decay_begin(10) == 6);
    CHECK(longer.at(6, 10) == 1);
    CHECK(longer.at(7, 10) == 0.5);  // 1 - sqrt 1/4
}

TEST_CASE("learning rate: inverse square root of the step, 1 at the end of the warm-up") {
    const LearningRate rate{.peak = 3, .warmup = 4, .shape = Decay::inv_sqrt, .floor = 0.1};
    CHECK(rate.at(3, 1000) == 3);
    CHECK(rate.at(15, 1000) == 1.5);                                                    // sqrt 4/16
    CHECK(rate.at(7, 1000) == doctest::Approx(3 * 0.7071067811865476).epsilon(1e-14));  // sqrt 4/8
    CHECK(rate.at(99, 1000) == doctest::Approx(0.6).epsilon(1e-14));                    // sqrt 4/100
    CHECK(rate.at(100'000, 1000) == doctest::Approx(0.3).epsilon(1e-14));               // the floor
    CHECK(LearningRate{.peak = 1, .shape = Decay::inv_sqrt}.at(24, 100) == 0.2);  // no warm-up: 1 / sqrt 25
}

TEST_CASE("learning rate: names") {
    CHECK(LearningRate::named("cosine") == Decay::cosine);
    CHECK(LearningRate::named("linear") == Decay::linear);
    CHECK(LearningRate::named("constant") == Decay::constant);
    CHECK(LearningRate::named("wsd") == Decay::wsd);
    CHECK(LearningRate::named("inv_sqrt") == Decay::inv_sqrt);
    CHECK_THROWS_WITH_AS(LearningRate::named("cos"),
                         doctest::Contains("constant, linear, cosine, wsd or inv_sqrt"), Error);
}

TEST_CASE("epoch coefficient: one per epoch, the last one held") {
    const EpochCoefficient annealed{{0.02, 0.0001}};
    CHECK(annealed.at(0) == 0.02);
    CHECK(annealed.at(1) == 0.0001);
    CHECK(annealed.at(7) == 0.0001);
    CHECK(EpochCoefficient{}.at(3) == 0);
    CHECK(EpochCoefficient{{}}.at(0) == 0);
}
