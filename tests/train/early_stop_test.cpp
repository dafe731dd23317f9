#include <moegrad/train/early_stop.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace moegrad;

TEST_CASE(
    "early stop: patience counts evaluations since the last best, and a best must be lower by min_delta") {
    const EarlyStop rule{.patience = 2, .min_delta = 0.1};
    RunState state;
    CHECK(rule.update(state, 3.0, 0));  // before the first step
    CHECK(rule.update(state, 2.5, 10));
    CHECK_FALSE(rule.update(state, 2.45, 20));  // lower, but not by 0.1
    CHECK_FALSE(rule.stop(state));
    CHECK(state.best == 2.5);
    CHECK(state.best_step == 10);
    CHECK(rule.update(state, 2.39, 30));
    CHECK(state.evaluations_without_gain == 0);
    CHECK_FALSE(rule.update(state, 2.6, 40));
    CHECK_FALSE(rule.update(state, std::nan(""), 50));  // never a best
    CHECK(rule.stop(state));
    CHECK(rule.reason(state).find("2 evaluations") != std::string::npos);
    CHECK(rule.reason(state).find("best at step 30") != std::string::npos);
}

TEST_CASE("early stop: without patience a run never stops, and the best is kept all the same") {
    const EarlyStop rule;
    RunState state;
    for (int i = 0; i < 9; ++i) CHECK(rule.update(state, 1.0 + i, i) == (i == 0));
    CHECK_FALSE(rule.stop(state));
    CHECK(state.best_step == 0);
    CHECK_FALSE(rule.update(state, 1.0, 10));  // equal is no gain
}
