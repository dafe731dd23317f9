// Claims: verdicts on differences whose intervals are known, and Holm's levels against his own example.

#include <doctest/doctest.h>

#include <moegrad/train/claim_arms.hpp>
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

/// One arm more of claim_task: its items are those of "b" and `more`, for every question.
void add_claim_arm(CompareResult& result, const char* name, double more) {
    ComparedArm arm = result.arms.front();
    arm.name = name;
    for (CompareRun& run : arm.runs)
        for (double& nll : run.items["nll"]) nll += more;
    result.arms.push_back(arm);
}

/// Losses from `first` on, `by` less each step.
std::vector<double> falling_losses(std::size_t steps, double first, double by) {
    std::vector<double> all;
    for (std::size_t n = 0; n < steps; ++n) all.push_back(first - by * static_cast<double>(n));
    return all;
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

TEST_CASE("claims: kept is no loss whatever is saved, by accuracy too") {
    CHECK(verdict_of(some_claim("kept"), claim_task(0.001, 0.0005, 0)) == "holds");
    CHECK(verdict_of(some_claim("kept"), claim_task(0.2, 0.001, 0)) == "does not hold");
    Claim claim = some_claim("kept", "acc");
    claim.margin = 0.15;
    // 100 questions: b answers all, a misses every n-th: 1, 13 or 50 of them, room for 15.
    for (const auto& [n, verdict] :
         {std::pair{100, "holds"}, std::pair{8, "cannot tell"}, std::pair{2, "does not hold"}}) {
        CompareResult task = claim_task(0, 0, 0);
        for (ComparedArm& arm : task.arms)
            for (int i = 0; i < 100; ++i)
                arm.runs[0].items["acc"].push_back(arm.name == "a" && i % n == 0 ? 0 : 1);
        CAPTURE(n);
        CHECK(verdict_of(claim, task) == verdict);
    }
}

TEST_CASE("claims: what a change costs two arms is compared question by question") {
    CompareResult task = claim_task(-0.2, 0.01, 0);  // a is 0.2 below b
    add_claim_arm(task, "a0", -0.5);                 // so that the change costs a 0.3
    add_claim_arm(task, "b0", -0.4);                 // and b 0.4
    Claim claim = some_claim("better");
    claim.a_from = "a0", claim.b_from = "b0";
    const ClaimResult result = measure_claim(claim, {task});
    CHECK(result.difference.value == doctest::Approx(-0.1));
    CHECK(result.reference == doctest::Approx(0.4));
    CHECK(verdict_of(claim, task) == "holds");
    CHECK(claim_text(claim, result).find("(a - a0) - (b - b0), nll: -0.1000") != std::string::npos);
    claim.b_from.clear();
    CHECK_THROWS_AS(check_claim(claim), Error);
}

TEST_CASE(
    "claims: a report names its base and the last full run, and the FLOPs of both sides where they differ") {
    Claim claim = some_claim("better");
    claim.state = "does not hold: +1.28 nats";
    ClaimResult result = measure_claim(claim, {claim_task(0, 0.1, 0)});
    const std::string same = claim_report(claim, result, "models/tiny-mixtral");
    CHECK(same.find("  base       models/tiny-mixtral\n  last full  does not hold: +1.28 nats\n") !=
          std::string::npos);
    CHECK(same.find("FLOPs") == std::string::npos);
    result.saved_a = 0.152;
    CHECK(claim_text(claim, result).find("FLOPs saved 15.2 % against 0.0 %") != std::string::npos);
    CompareResult dense = claim_task(0, 0.1, 0);  // adapters: a load, and no FLOPs
    for (ComparedArm& arm : dense.arms) arm.runs[0].measures.erase("flops_saved");
    dense.arms[1].runs[0].measures["load"] = {3.36, 0, 0, 1};
    const std::string adapters = claim_text(claim, measure_claim(claim, {dense}));
    CHECK(adapters.find("load 3.36 against none") != std::string::npos);
    CHECK(adapters.find("saved") == std::string::npos);
}

TEST_CASE("claims: sooner counts steps until the smoothed loss is that of the other arm's end") {
    using moegrad::detail::smoothed_losses;
    // 40 steps, so means of two. b: 40, 39, .. 1 ends at 1.5. a: 39, 37, ..: 42 - 2 n after n steps, so n = 21.
    const auto b = falling_losses(40, 40, 1), a = falling_losses(40, 39, 2);
    CHECK(smoothed_losses(b).back() == doctest::Approx(1.5));
    CHECK(std::isinf(smoothed_losses(b).front()));
    CHECK(moegrad::detail::steps_to(a, 1.5) == 21);
    CHECK(moegrad::detail::steps_to(b, 1.5) == 40);
    CHECK(moegrad::detail::steps_to(std::vector<double>(40, 9.0), 1.5) == 41);
    CHECK(moegrad::detail::steps_to({3, 2, 1}, 2) == 2);  // few steps: no mean
    CompareResult task = claim_seeds(claim_task(0, 0, 0), 6);
    for (ComparedArm& arm : task.arms) {
        for (std::size_t s = 0; s < 6; ++s) {
            // A later start of a by s: 42 + s - 2 n is 1.5 or less from n = 21, 21, 22 on.
            arm.runs[s].loss = arm.name == "a" ? falling_losses(40, 39 + static_cast<double>(s % 3), 2) : b;
        }
    }
    const Claim claim = some_claim("sooner");
    const ClaimResult result = measure_claim(claim, {task});
    CHECK(result.difference.value == doctest::Approx((21 + 21 + 22) / 3.0 - 40));
    CHECK(result.reference == 40);
    CHECK(verdict_of(claim, task) == "holds");
    std::swap(task.arms[0].name, task.arms[1].name);
    CHECK(verdict_of(claim, task) == "does not hold");  // it never gets there: 41 against 40 and less
    task.arms[1].runs[1].loss.clear();
    CHECK_THROWS_AS(measure_claim(claim, {task}), Error);
}

TEST_CASE("claims: off budget is the distance of the load, above or below") {
    CompareResult task = claim_seeds(claim_task(0, 0, 0), 3);
    const double a[] = {1.4, 1.55, 1.6}, b[] = {2.1, 1.0, 2.0};  // off 1.5 by .1, .05, .1 and by .6, .5, .5
    for (ComparedArm& arm : task.arms)
        for (std::size_t s = 0; s < 3; ++s)
            arm.runs[s].measures["load"] = {arm.name == "a" ? a[s] : b[s], 0, 0, 1};
    Claim claim = some_claim("off_budget");
    CHECK_THROWS_AS(check_claim(claim), Error);
    claim.budget = 1.5;
    check_claim(claim);
    const ClaimResult result = measure_claim(claim, {task});
    CHECK(result.difference.value == doctest::Approx((-0.5 - 0.45 - 0.4) / 3));
    CHECK(result.reference == doctest::Approx(1.6 / 3));
    CHECK(verdict_of(claim, task) == "holds");
    claim.a.swap(claim.b);
    CHECK(verdict_of(claim, task) == "does not hold");
}

TEST_CASE("claims: a number per run is compared seed by seed") {
    const Claim claim = some_claim("less", "load_cv");
    CHECK(verdict_of(claim, claim_seeds(claim_task(0, 0, 0), 3)) == "holds");
    CHECK_THROWS_AS(verdict_of(some_claim("less", "speed"), claim_task(0, 0, 0)), Error);
}

TEST_CASE("claims: what a change costs in a number per run; a number that is not there is named") {
    CompareResult task = claim_seeds(claim_task(0, 0, 0), 6);
    for (const char* name : {"a0", "b0"}) {
        task.arms.push_back(task.arms[name[0] == 'a' ? 1 : 0]);
        task.arms.back().name = name;
    }
    for (int s = 0; s < 6; ++s)
        task.arms[3].runs[static_cast<std::size_t>(s)].measures["load_cv"].value += 0.3;
    Claim claim = some_claim("better", "load_cv");
    claim.a_from = "a0", claim.b_from = "b0";
    // a costs nothing, b -0.3, seed by seed: no spread, and six seeds of one sign.
    const ClaimResult result = measure_claim(claim, {task});
    CHECK(result.difference.value == doctest::Approx(0.3));
    CHECK(result.reference == doctest::Approx(-0.3));
    CHECK(verdict_of(claim, task) == "does not hold");
    CHECK_THROWS_WITH_AS(verdict_of(some_claim("less", "step_seconds"), task),
                         doctest::Contains("step_seconds, which a has not"), Error);
    CHECK_FALSE(less_is_better(some_claim("better", "fact_auroc")));
    CHECK(less_is_better(some_claim("better", "bits_per_byte")));
}

TEST_CASE("claims: one run of a number per run tells nothing") {
    const Claim claim = some_claim("less", "load_cv");
    const ClaimResult result = measure_claim(claim, {claim_task(0, 0, 0), claim_task(0, 0, 0)});
    CHECK(result.p == 1);
    CHECK(std::isinf(result.smallest));
    CHECK(verdict_of(claim, claim_task(0, 0, 0)) == "cannot tell");
}

TEST_CASE("claims: no loss has a p of its own, which Holm's levels bound on both sides") {
    const double error = 0.004, away = 1.959963984540054 * error;  // p = 0.05 (normal quantile)
    for (const auto& [metric, sign] : {std::pair{"nll", 1}, std::pair{"acc", -1}}) {
        const Claim claim = some_claim("no_loss", metric);
        for (const auto& [cost, verdict] :
             {std::pair{0.01 - away, "holds"}, std::pair{0.01 + away, "does not hold"}}) {
            ClaimResult result;
            result.reference = 2, result.saved_a = 0.1;  // room 0.01
            result.difference = {sign * cost, sign * cost - away, sign * cost + away, 9};
            result.p =
                moegrad::detail::two_sided_p(result.difference, moegrad::detail::in_favour(claim, result), 0);
            CHECK(result.p == doctest::Approx(0.05).epsilon(1e-6));
            CHECK(claim_verdict(claim, result, 0.06) == verdict);
            CHECK(claim_verdict(claim, result, 0.04) == "cannot tell");
        }
    }
}

TEST_CASE(
    "claims: p of a difference of 1.96 standard errors is 0.05, and 2.80 of them are shown in four cases of "
    "five") {
    ClaimResult result = measure_claim(some_claim("better"), {claim_task(0.5, 0.1, 0)});
    const double half = (result.difference.high - result.difference.low) / 2;
    CHECK(result.df == 0);
    CHECK(result.smallest == doctest::Approx(2.80 * half / 1.959963984540054));
    // 97.5 % and 80 % points of Student's t, df = 4: 2.776445 + 0.940965.
    CHECK(moegrad::detail::shown_at(4) == doctest::Approx(3.71741).epsilon(0.01));
    const auto p = [](double value, double half_width, Index df) {
        return moegrad::detail::two_sided_p({value, value - half_width, value + half_width, 1}, value, df);
    };
    CHECK(p(1, 1, 0) == doctest::Approx(0.05).epsilon(1e-6));
    CHECK(p(1, 1, 4) == doctest::Approx(0.05).epsilon(1e-5));
    // t = 4.604095 is the 99.5 % point of df = 4: the normal distribution would say 0.0012.
    CHECK(p(4.604095 / 2.776445, 1, 4) == doctest::Approx(0.01).epsilon(1e-5));
    CHECK(p(1, 0, 4) == 1.0 / 16);  // five seeds of one sign
    CHECK(p(0, 0, 4) == 1);
}

TEST_CASE("claims: Holm's levels") {
    // p = .01, .04, .03, .005 at .05: .005 < .0125, .01 < .0167, .03 > .025: stop (worked by hand from Holm 1979).
    const auto levels = holm_levels({.01, .04, .03, .005});
    CHECK(levels[3] == doctest::Approx(.05 / 4));
    CHECK(levels[0] == doctest::Approx(.05 / 3));
    CHECK(levels[2] == doctest::Approx(.05 / 2));
    CHECK(levels[1] == 0);
}

TEST_CASE("claims: the arms of a comparison that some claims need, in its order") {
    const auto arm = [](const std::string& name, const std::string& load_of = "",
                        const std::string& picks_of = "", const std::string& of = "") {
        CompareArm one;
        one.name = name, one.load_of = load_of, one.picks_of = picks_of, one.of = of;
        return one;
    };
    const std::vector<CompareArm> arms{arm("top2"),
                                       arm("adamoe"),
                                       arm("ratio", "adamoe"),
                                       arm("tuned"),
                                       arm("ceft", "", "tuned"),
                                       arm("swapped", "", "", "ratio"),
                                       arm("unneeded")};
    const auto needed = [&](const std::vector<std::pair<std::string, std::string>>& pairs) {
        std::vector<Claim> claims;
        for (const auto& [a, b] : pairs) {
            claims.emplace_back();
            claims.back().a = a, claims.back().b = b;
        }
        std::string names;
        for (const CompareArm& one : arms_of_claims(arms, claims)) names += one.name + " ";
        return names;
    };
    CHECK(needed({{"top2", "top2"}}) == "top2 ");
    CHECK(needed({{"ratio", "top2"}}) == "top2 adamoe ratio ");
    CHECK(needed({{"swapped", "ceft"}}) == "adamoe ratio tuned ceft swapped ");  // of what it is of, too
    CHECK(needed({{"adamoe", "top2"}, {"ceft", "tuned"}}) == "top2 adamoe tuned ceft ");
    CHECK_THROWS_WITH_AS(needed({{"top2", "rati"}}), doctest::Contains("`ratio`"), Error);
}
