// Estimates against textbook values and against sums over all pairs.

#include <moegrad/eval/statistics.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// Area and DeLong's variance by their definitions, over all pairs.
struct PairwiseAuroc {
    double area = 0, variance = 0;
};
PairwiseAuroc pairwise_auroc(const std::vector<double>& score, const std::vector<std::uint8_t>& positive) {
    std::vector<double> p, n;
    for (std::size_t i = 0; i < score.size(); ++i) (positive[i] ? p : n).push_back(score[i]);
    std::vector<double> v10(p.size(), 0), v01(n.size(), 0);
    const double P = static_cast<double>(p.size()), N = static_cast<double>(n.size());
    PairwiseAuroc result;
    for (std::size_t i = 0; i < p.size(); ++i) {
        for (std::size_t j = 0; j < n.size(); ++j) {
            const double right = p[i] > n[j] ? 1 : p[i] == n[j] ? 0.5 : 0;
            v10[i] += right / N;
            v01[j] += right / P;
            result.area += right / (P * N);
        }
    }
    for (double v : v10) result.variance += (v - result.area) * (v - result.area) / (P * P);
    for (double v : v01) result.variance += (v - result.area) * (v - result.area) / (N * N);
    return result;
}

}  // namespace

TEST_CASE("proportion: Wilson's interval") {
    const Estimate e = proportion(71, 100);  // (0.6146, 0.7899), Newcombe 1998 method 3
    CHECK(e.value == doctest::Approx(0.71));
    CHECK(e.low == doctest::Approx(0.6146).epsilon(1e-4));
    CHECK(e.high == doctest::Approx(0.7899).epsilon(1e-4));
    const Estimate newcombe = proportion(81, 263);  // his table I: 0.2553 to 0.3662
    CHECK(newcombe.low == doctest::Approx(0.2553).epsilon(2e-4));
    CHECK(newcombe.high == doctest::Approx(0.3662).epsilon(2e-4));
    CHECK(proportion(0, 20).low == 0);
    CHECK(proportion(0, 20).high == doctest::Approx(0.1611).epsilon(1e-3));  // z^2 / (n + z^2)
    CHECK(proportion(20, 20).high == 1);
    CHECK_THROWS_AS(proportion(0, 0), Error);
}

TEST_CASE("mean: Student's interval") {
    const std::vector<double> x{1, 2, 4};
    const Estimate e = mean(x);  // s = 1.527525, t(2) = 4.302653: half width 3.794585
    CHECK(e.value == doctest::Approx(7.0 / 3));
    CHECK(e.high - e.value == doctest::Approx(3.794585).epsilon(1e-5));
    CHECK(e.value - e.low == doctest::Approx(3.794585).epsilon(1e-5));
    CHECK(detail::student95(31) == doctest::Approx(2.039513).epsilon(1e-5));
    CHECK(detail::student95(120) == doctest::Approx(1.979930).epsilon(1e-5));
    const Estimate one = mean(std::vector<double>{3});
    CHECK(one.low == 3);
    CHECK(one.high == 3);
}

TEST_CASE("bootstrap: near the normal interval for many items, the same for the same seed") {
    std::vector<double> x;
    Random random(3);
    for (int i = 0; i < 400; ++i) x.push_back(random.next_normal());
    const Estimate normal = mean(x), boot = bootstrap_mean(x, 5);
    CHECK(boot.value == doctest::Approx(normal.value));
    CHECK(boot.low == doctest::Approx(normal.low).epsilon(0.1));
    CHECK(boot.high == doctest::Approx(normal.high).epsilon(0.1));
    CHECK(bootstrap_mean(x, 5) == boot);
    CHECK_FALSE(bootstrap_mean(x, 6) == boot);
}

TEST_CASE("paired_difference sees what two separate intervals hide") {
    std::vector<double> a, b;
    Random random(4);
    for (int i = 0; i < 200; ++i) {
        const double item = random.next_normal() * 5;
        a.push_back(item + 0.3 + 0.2 * random.next_normal());
        b.push_back(item);
    }
    const Estimate difference = paired_difference(a, b);
    CHECK(difference.low > 0.2);
    CHECK(difference.high < 0.4);
    CHECK(mean(a).holds(mean(b).value));
    const std::vector<double> few_a{1, 2, 3}, few_b{0.5, 1, 3.5};
    CHECK(paired_difference(few_a, few_b) == mean(std::vector<double>{0.5, 1, -0.5}));
    CHECK_THROWS_AS(paired_difference(a, few_b), Error);
}

TEST_CASE("mcnemar: exact") {
    std::vector<std::uint8_t> a, b;
    const auto add = [&](int n, bool in_a, bool in_b) {
        for (int i = 0; i < n; ++i) {
            a.push_back(in_a);
            b.push_back(in_b);
        }
    };
    add(30, true, true);
    add(9, true, false);
    add(1, false, true);
    add(10, false, false);
    const McNemar test = mcnemar(a, b);
    CHECK(test.only_a == 9);
    CHECK(test.only_b == 1);
    CHECK(test.p == doctest::Approx(2.0 * 11 / 1024));
    CHECK(mcnemar(a, a).p == 1);
    a.clear();
    b.clear();
    add(1400, true, false);  // 2^-2400 is no double; the normal approximation says z = 8.16, p = 3.2e-16
    add(1000, false, true);
    CHECK(mcnemar(a, b).p > 1e-16);
    CHECK(mcnemar(a, b).p < 1e-15);
}

TEST_CASE("matthews: the correlation of a 2 x 2 table") {
    std::vector<std::int32_t> predicted, truth;
    const auto add = [&](int n, int p, int t) {
        for (int i = 0; i < n; ++i) {
            predicted.push_back(p);
            truth.push_back(t);
        }
    };
    add(6, 1, 1);
    add(3, 0, 0);
    add(1, 1, 0);
    add(2, 0, 1);
    const Estimate e = matthews(predicted, truth);
    CHECK(e.value == doctest::Approx(16 / std::sqrt(7.0 * 8 * 4 * 5)));
    CHECK(e.low < e.value);
    CHECK(e.high > e.value);
    CHECK(matthews(truth, truth).value == doctest::Approx(1));
    const std::vector<std::int32_t> always(truth.size(), 1);
    CHECK(matthews(always, truth).value == 0);
}

TEST_CASE("auroc: ties count one half; area and interval as summed over all pairs") {
    std::vector<double> score;
    std::vector<std::uint8_t> positive;
    Random random(8);
    for (int i = 0; i < 301; ++i) {
        positive.push_back(random.next_below(3) == 0);
        score.push_back(static_cast<double>(random.next_below(5)) + (positive.back() ? 1 : 0));  // many ties
    }
    const auto direct = pairwise_auroc(score, positive);
    const Estimate e = auroc(score, positive);
    CHECK(e.value == doctest::Approx(direct.area).epsilon(1e-12));
    const double C = static_cast<double>(score.size());
    const double half = 1.959964 * std::sqrt(direct.variance * C / (C - 1));
    CHECK(e.high - e.value == doctest::Approx(half).epsilon(1e-6));
    CHECK(auroc(std::vector<double>{1, 1, 1}, std::vector<std::uint8_t>{1, 0, 1}).value == 0.5);
    CHECK(auroc(std::vector<double>{1, 2, 3, 4}, std::vector<std::uint8_t>{0, 1, 0, 1}).value == 0.75);
    CHECK_THROWS_AS(auroc(score, std::vector<std::uint8_t>(score.size(), 1)), Error);
}

TEST_CASE("auroc: items that repeat inside a cluster do not narrow the interval") {
    std::vector<double> score, repeated;
    std::vector<std::uint8_t> positive, repeated_positive;
    std::vector<std::int32_t> cluster;
    Random random(2);
    for (int i = 0; i < 120; ++i) {
        positive.push_back(static_cast<std::uint8_t>(i % 2));
        score.push_back(random.next_normal() + (i % 2));
        for (int copy = 0; copy < 5; ++copy) {
            repeated.push_back(score.back());
            repeated_positive.push_back(positive.back());
            cluster.push_back(i);
        }
    }
    const Estimate once = auroc(score, positive), all = auroc(repeated, repeated_positive, cluster);
    CHECK(all.value == doctest::Approx(once.value).epsilon(1e-12));
    CHECK(all.low == doctest::Approx(once.low).epsilon(1e-9));
    const Estimate naive = auroc(repeated, repeated_positive);
    CHECK(naive.high - naive.low < 0.6 * (all.high - all.low));
}

TEST_CASE("statistics: tails of Student's t are those of the printed tables") {
    // Two-sided 0.05 and 0.01 points (any table of Student's t); df = 1 is Cauchy's: P(|T| >= 1) = 1/2.
    const struct {
        Index df;
        double t05, t01;
    } rows[] = {{1, 12.706205, 63.656741}, {2, 4.302653, 9.924843},  {3, 3.182446, 5.840909},
                {4, 2.776445, 4.604095},   {9, 2.262157, 3.249836},  {10, 2.228139, 3.169273},
                {29, 2.045230, 2.756386},  {120, 1.979930, 2.617421}};
    for (const auto& row : rows) {
        CAPTURE(row.df);
        CHECK(moegrad::detail::student_two_sided(row.t05, row.df) == doctest::Approx(0.05).epsilon(1e-5));
        CHECK(moegrad::detail::student_two_sided(row.t01, row.df) == doctest::Approx(0.01).epsilon(1e-5));
    }
    CHECK(moegrad::detail::student_two_sided(1, 1) == doctest::Approx(0.5).epsilon(1e-12));
    CHECK(moegrad::detail::student_two_sided(0, 7) == 1);
}
