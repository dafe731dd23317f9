// One grid of learning rates for all arms: which rate an arm gets, from which data, and what is kept.

#include "train/compare_world.hpp"

#include <moegrad/compare_toml.hpp>

#include <moegrad/train/compare.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace moegrad;
using test::TinyWorld;
using test::whole_file;

namespace {

constexpr double kLost = std::numeric_limits<double>::infinity();

std::string rates_recipe(const TinyWorld& world, const std::string& rates) {
    std::string text = world.recipe();
    const std::string fixed = "optim.lr = 0.01\n";
    text.erase(text.find(fixed), fixed.size());
    return "rates = [" + rates + "]\n" + text;
}

}  // namespace

TEST_CASE("rates: the lowest held-out nll wins, the first of equal ones; an end of the grid is said") {
    CHECK(best_rate({{0.1, 3}, {0.2, 1}, {0.3, 2}}) == 1);
    CHECK(best_rate({{0.1, 2}, {0.2, 1}, {0.3, 1}}) == 1);
    CHECK(best_rate({{0.1, kLost}, {0.2, 5}}) == 1);
    CHECK_THROWS_WITH_AS(best_rate({{0.1, kLost}, {0.2, kLost}}), doctest::Contains("smaller ones"), Error);
    CHECK(best_rate_text("x", {{0.1, 3}, {0.2, 1}, {0.3, 2}}) == "x 0.2");
    CHECK(best_rate_text("x", {{0.001, 1}, {0.2, 3}}) == "x 0.001 (an end of the grid)");
}

TEST_CASE("rates: every arm is tried with the first seed without the questions, and trains at its best") {
    const TinyWorld world;
    std::string train;  // one line over and over: what is held out was seen
    for (int i = 0; i < 40; ++i) train += "{\"prompt\":\"quiz :\",\"completion\":\" Riga\"}\n";
    world.write("train.jsonl", train);
    CompareSpec spec = parse_compare_toml(rates_recipe(world, "1e-05, 0.002"), "arms.toml").tasks.front();
    spec.output = world.path("out");
    spec.threads = 1;
    spec.base.steps = 60;
    Index steps = 0;
    const auto watch = [&](CompareNews news, const std::string&, const std::string&) {
        steps += news == CompareNews::step ? 1 : 0;
    };
    const CompareResult result = run_compare<float>(spec, watch);
    CHECK(steps > 0);
    // The same by hand, for the first arm: nine tenths to train on, one to judge.
    std::vector<double> nll;
    for (const double rate : {1e-05, 0.002}) {
        RunConfig config = spec.base;
        config.rate.peak = rate;
        config.holdout = 0.1;
        config.threads = 1;
        config.output = world.path("by_hand");
        nll.push_back(run_training<float>(config, [](const std::string&) {}).nll_after);
    }
    REQUIRE(nll[1] < nll[0]);
    for (const char* seed : {"0", "3"}) {
        const std::string config = whole_file(world.path(std::string("out/plain-") + seed + "/config.toml"));
        CHECK(config.find("optim.lr = \"0.002\"\n") != std::string::npos);
    }
    const std::string text = compare_text(result);
    INFO(text);
    CHECK(text.find("of one grid, by a held-out tenth of the training data: plain 0.002 (an end of the "
                    "grid), nulls ") != std::string::npos);
    CHECK(text.find(", drop ") != std::string::npos);
    steps = 0;
    const CompareResult again = run_compare<float>(spec, watch);
    CHECK(steps == 0);
    CHECK(compare_text(again) == text);
}

TEST_CASE(
    "rates: a run that ends in numbers that are not finite has lost, is kept, and other errors are not") {
    const TinyWorld world;
    RunConfig config = parse_compare_toml(world.recipe(), "arms.toml").tasks.front().base;
    int trained = 0;
    const auto diverges = [&](const RunConfig& one) -> double {
        ++trained;
        CHECK(one.rate.peak == 0.3);
        CHECK(one.holdout == 0.1);
        throw Error{ErrorCode::value, "step 3", "a finite loss", "nan"};
    };
    const std::string folder = world.path("tried");
    CHECK(try_rate(config, 0.3, "in", folder, diverges).nll == kLost);
    CHECK(try_rate(config, 0.3, "in", folder, diverges).nll == kLost);
    CHECK(trained == 1);
    CHECK(try_rate(config, 0.3, "other", folder, [](const RunConfig&) { return 2.5; }).nll == 2.5);
    CHECK(try_rate(config, 0.3, "other", folder, diverges).nll == 2.5);
    for (int again = 0; again < 2; ++again)
        CHECK(try_rate(config, 0.3, "nan", folder, [](const RunConfig&) { return std::nan(""); }).nll ==
              kLost);
    const auto breaks = [](const RunConfig&) -> double {
        throw Error{ErrorCode::memory, "here", "more", "less"};
    };
    CHECK_THROWS_AS(try_rate(config, 0.3, "third", folder, breaks), Error);
}

TEST_CASE("rates: a grid that does not rise, and an arm with a rate of its own, are refused") {
    const TinyWorld world;
    const auto refused = [&](const std::string& toml, const char* word) {
        const CompareSpec spec = parse_compare_toml(toml, "arms.toml").tasks.front();
        CHECK_THROWS_WITH_AS(check_compare(spec), doctest::Contains(word), Error);
    };
    refused(rates_recipe(world, "0.01, 0.001"), "that rise");
    refused(rates_recipe(world, "0"), "that rise");
    refused(rates_recipe(world, "0.01") + "[[arm]]\nname = \"own\"\noptim.lr = 1\n", "beside rates");
}
