// Claims: verdicts on differences whose intervals are known, and Holm's levels against his own example.

#include <doctest/doctest.h>

#include <moegrad/train/claims.hpp>

using namespace moegrad;

namespace {

Claim some_claim(const char* test, const char* metric = "nll") {
    Claim claim;
    claim.id = "x/y", claim.says = "s", claim.recipe = "r", claim.test = test;
    claim.a = "a", claim.b = "b", claim.metric = metric;
    return claim;
}

/// Two arms, one seed, four questions: nll of a is that of b and `more`.
CompareResult claim_task(double more, double spread, double saved) {
    CompareResult result;
    for (const char* name : {"b", "a"}) {
        ComparedArm arm;
        arm.name = name;
        CompareRun run;
        const bool is_a = arm.name == "a";
        for (int i = 0; i < 4; ++i) {
            run.ids.push_back(std::to_string(i));
            run.items["nll"].push_back(1 + (is_a ? more + (i % 2 ? spread : -spread) : 0));
        }
        run.measures["flops_saved"] = {is_a ? saved : 0, 0, 0, 1};
        run.measures["load_cv"] = {is_a ? 0.2 : 0.5, 0, 0, 1};
        arm.runs.push_back(run);
        result.arms.push_back(arm);
    }
    return result;
}

/// The same with more seeds, whose load_cv differ a little.
CompareResult claim_seeds(CompareResult result, int seeds) {
    for (ComparedArm& arm : result.arms) {
        const CompareRun first = arm.runs.front();
        for (int s = 1; s < seeds; ++s) {
            arm.runs.push_back(first);
            arm.runs.back().measures["load_cv"].value += 0.01 * s * (arm.name == "a" ? 1 : -1);
        }
    }
    return result;
}

std::string verdict_of(const Claim& claim, const CompareResult& task) {
    std::vector<ClaimResult> results{measure_claim(claim, {task})};
    judge_claims({claim}, results);
    return results[0].verdict;
}

}  // namespace

TEST_CASE("claims: better holds, does not hold, cannot be told") {
    CHECK(verdict_of(some_claim("better"), claim_task(-0.5, 0.01, 0)) == "holds");
    CHECK(verdict_of(some_claim("better"), claim_task(0.5, 0.01, 0)) == "does not hold");
    CHECK(verdict_of(some_claim("better"), claim_task(0.01, 0.5, 0)) == "cannot tell");
}

TEST_CASE("claims: no loss is an upper bound, and needs something saved") {
    const Claim claim = some_claim("no_loss");  // room: 0.5 % of 1
    CHECK(verdict_of(claim, claim_task(0.001, 0.0005, 0.1)) == "holds");
    CHECK(verdict_of(claim, claim_task(0.001, 0.0005, 0)) == "cannot tell");
    CHECK(verdict_of(claim, claim_task(0.001, 0.01, 0.1)) == "cannot tell");
    CHECK(verdict_of(claim, claim_task(0.2, 0.001, 0.1)) == "does not hold");
}

TEST_CASE("claims: a number per run is compared seed by seed") {
    const Claim claim = some_claim("less", "load_cv");
    CHECK(verdict_of(claim, claim_seeds(claim_task(0, 0, 0), 3)) == "holds");
    CHECK_THROWS_AS(verdict_of(some_claim("less", "speed"), claim_task(0, 0, 0)), Error);
}

TEST_CASE("claims: one run of a number per run tells nothing") {
    const Claim claim = some_claim("less", "load_cv");
    const ClaimResult result = measure_claim(claim, {claim_task(0, 0, 0), claim_task(0, 0, 0)});
    CHECK(result.p == 1);
    CHECK(std::isinf(result.smallest));
    CHECK(verdict_of(claim, claim_task(0, 0, 0)) == "cannot tell");
}

TEST_CASE("claims: no loss has a p of its own, which Holm's levels bound") {
    const Claim claim = some_claim("no_loss");
    ClaimResult result;
    result.reference = 2;  // room 0.01
    // Below the room by 1.644854 standard errors: p = 0.05 (normal quantile).
    const double error = 0.004, cost = 0.01 - 1.6448536269514722 * error, half = 1.959963984540054 * error;
    result.difference = {cost, cost - half, cost + half, 9};
    CHECK(moegrad::detail::no_loss_p(claim, result) == doctest::Approx(0.05).epsilon(1e-6));
    Claim accuracy = some_claim("no_loss", "acc");
    result.difference = {-cost, -cost - half, -cost + half, 9};
    CHECK(moegrad::detail::no_loss_p(accuracy, result) == doctest::Approx(0.05).epsilon(1e-6));
    CHECK(moegrad::detail::no_loss_p(claim, result) < 0.05);
    result.difference = {0.01, 0.01 - half, 0.01 + half, 9};
    CHECK(moegrad::detail::no_loss_p(claim, result) == 1);
    result.p = 0.03, result.saved_a = 0.1;
    CHECK(claim_verdict(claim, result, 0.05) == "holds");
    CHECK(claim_verdict(claim, result, 0.025) == "cannot tell");
}

TEST_CASE(
    "claims: p of a difference of 1.96 standard errors is 0.05, and 2.80 of them are shown in four cases of "
    "five") {
    ClaimResult result = measure_claim(some_claim("better"), {claim_task(0.5, 0.1, 0)});
    const double error = (result.difference.high - result.difference.low) / 2 / 1.959963984540054;
    CHECK(result.smallest == doctest::Approx(2.80 * error));
    CHECK(moegrad::detail::two_sided_p({1.959963984540054, 0, 2 * 1.959963984540054, 1}) ==
          doctest::Approx(0.05).epsilon(1e-6));
}

TEST_CASE("claims: Holm's levels") {
    // p = .01, .04, .03, .005 at .05: .005 < .0125, .01 < .0167, .03 > .025: stop (worked by hand from Holm 1979).
    const auto levels = holm_levels({.01, .04, .03, .005});
    CHECK(levels[3] == doctest::Approx(.05 / 4));
    CHECK(levels[0] == doctest::Approx(.05 / 3));
    CHECK(levels[2] == doctest::Approx(.05 / 2));
    CHECK(levels[1] == 0);
}
