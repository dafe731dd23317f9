// The rows of `moegrad bench`: medians and their intervals, the arithmetic of every kind of row, the bounds.

#include <doctest/doctest.h>

#include <map>
#include <set>

#include <moegrad/bench/results.hpp>
#include <moegrad/bench/values.hpp>

using namespace moegrad;
using namespace moegrad::bench;

namespace {

Job timed(const char* part, const std::string& what, double flops, double bytes, std::vector<double> seconds,
          const char* note = "") {
    Job job{part, what, flops, bytes, bytes > 0 ? Against::copy : Against::product, {}};
    job.seconds = std::move(seconds);
    job.note = note;
    return job;
}

Goal goal(Kind kind, const char* ours, const char* theirs, double anchor = 0) {
    return {1, "a row", kind, 1, 2, "part", ours, theirs, anchor};
}

double value_of(const Goal& one, const std::vector<Job>& jobs) {
    const auto figure = figure_of(one, jobs);
    REQUIRE(figure.has_value());
    return figure->value.value;
}

}  // namespace

TEST_CASE("bench: ranks of the median's 95 % interval are those of the sign test's tables") {
    // n, k of the k-th from either end: Conover, Practical Nonparametric Statistics, table A3 at p = 0.5.
    for (const auto& [n, k] : std::map<std::size_t, std::size_t>{
             {6, 1}, {8, 1}, {9, 2}, {10, 2}, {12, 3}, {15, 4}, {20, 6}, {25, 8}, {30, 10}}) {
        CAPTURE(n);
        CHECK(median_rank(n) == k);
    }
    CHECK(median_rank(5) == 0);
}

TEST_CASE("bench: median and interval, whatever the order") {
    CHECK(median_interval({}) == Estimate{});
    CHECK(median_interval({3, 1, 2}) == Estimate{2, 1, 3, 3});
    std::vector<double> values;
    for (int i = 0; i < 20; ++i) values.push_back(i * 7 % 20);  // 0 .. 19
    CHECK(median_interval(values) == Estimate{9.5, 5, 14, 20});
}

TEST_CASE("bench: every kind of row, by hand") {
    const std::vector<Job> jobs{
        timed("part", "ours", 6, 0, {1, 2, 4}),  timed("part", "theirs", 8, 0, {2, 5, 6}, "best"),
        timed("part", "copy", 0, 10, {1, 1, 1}), timed("part", "swiglu", 0, 8, {1, 1, 2}),
        timed("part", "adamw", 0, 6, {1, 1, 1}), timed("part", "PyTorch AdamW", 0, 1, {1, 1, 1}, "fused")};
    CHECK(value_of(goal(Kind::faster, "ours", "theirs"), jobs) == 2);  // of 2, 2.5, 1.5
    CHECK(value_of(goal(Kind::rate, "ours", "theirs"), jobs) == 1.5);  // 6 / 8 of that
    CHECK(value_of(goal(Kind::time, "ours", "theirs"), jobs) == 0.5);  // of 0.5, 0.4, 2/3
    CHECK(value_of(goal(Kind::extra, "ours", "theirs"), jobs) == -0.5);
    CHECK(value_of(goal(Kind::saving, "ours", "theirs"), jobs) == doctest::Approx(0.5 / 0.25));
    CHECK(value_of(goal(Kind::anchored, "ours", "", 3), jobs) == 1.5);
    CHECK(value_of(goal(Kind::worst_share, "adamw,swiglu", "copy"), jobs) == 0.6);
    CHECK(value_of(goal(Kind::worst_share, "swi", "copy"), jobs) == 0.8);
    CHECK(figure_of(goal(Kind::worst_share, "", "copy"), jobs)->note == "adamw");  // not the peer's
    CHECK(figure_of(goal(Kind::faster, "ours", "theirs"), jobs)->note == "best");
    CHECK_FALSE(figure_of(goal(Kind::faster, "ours", "nobody"), jobs).has_value());
    CHECK_FALSE(figure_of(goal(Kind::worst_share, "rope", "copy"), jobs).has_value());
}

TEST_CASE("bench: the worst method is the one furthest above its own FLOPs") {
    const std::vector<Job> jobs{
        timed("part", "top-2 beside a", 10, 0, {1, 1, 1}),
        timed("part", "a", 40, 0, {4.4, 4.4, 4.4}),  // 1.1 of what 4 times the work says
        timed("part", "top-2 beside b", 10, 0, {1, 1, 1}), timed("part", "b", 10, 0, {1.2, 1.2, 1.2})};
    const auto figure = figure_of(goal(Kind::worst_extra, "", "top-2"), jobs);
    REQUIRE(figure.has_value());
    CHECK(figure->value.value == doctest::Approx(0.2));
    CHECK(figure->note == "b");
    CHECK(job_cells(jobs[1], jobs).back() == "+10.0 %");
}

TEST_CASE("bench: what FLOPs say is the line through plain top-1, top-2 and top-8") {
    const std::vector<Job> jobs{timed("part", "top-1", 6, 0, {4, 4, 4}),
                                timed("part", "top-2", 10, 0, {5, 5, 5}),
                                timed("part", "top-8", 34, 0, {17, 17, 17}),
                                timed("part", "top-2 beside less", 10, 0, {10, 10, 10}),
                                timed("part", "less", 8, 0, {9, 9, 9}),  // half way to top-1: nothing beyond
                                timed("part", "top-2 beside more", 10, 0, {5, 5, 5}),
                                timed("part", "more", 22, 0, {12.1, 12.1, 12.1})};  // half way to top-8: 11
    CHECK(job_cells(jobs[4], jobs).back() == "+0.0 %");
    CHECK(job_cells(jobs[6], jobs).back() == "+10.0 %");
    const auto figure = figure_of(goal(Kind::worst_extra, "", "top-2"), jobs);
    REQUIRE(figure.has_value());
    CHECK(figure->value.value == doctest::Approx(0.1));
    CHECK(figure->note == "more");
}

TEST_CASE("bench: verdicts, where high and where low is good") {
    const Goal high = goal(Kind::faster, "", "");
    CHECK(verdict(high, 0.99) == "missed");
    CHECK(verdict(high, 1) == "met");
    CHECK(verdict(high, 2) == "stretch met");
    const Goal low{5, "", Kind::extra, 0.04, 0.02, "", "", ""};
    CHECK(verdict(low, 0.05) == "missed");
    CHECK(verdict(low, 0.04) == "met");
    CHECK(verdict(low, 0.01) == "stretch met");
    CHECK(verdict({1, "", Kind::rate, 0, 0, "", "", ""}, 1).empty());
}

TEST_CASE("bench: the bounds are those that the project was given") {
    using Bounds = std::set<std::pair<double, double>>;
    const std::map<int, Bounds> given{{1, {{1.0, 1.05}, {0.85, 0.92}}},
                                      {2, {{0.93, 1.0}}},
                                      {3, {{1.35, 1.50}}},
                                      {4, {{2.1, 2.4}}},
                                      {5, {{0.04, 0.02}}},
                                      {6, {{2.5, 4}}},
                                      {7, {{2.8, 3.5}}},
                                      {8, {{1.25, 1.40}}},
                                      {9, {{0.93, 0.97}}},
                                      {10, {{0.90, 0.97}}},
                                      {11, {{0.85, 1.0}, {0.75, 0.95}}},
                                      {12, {{0.85, 0.93}}},
                                      {13, {{1.15, 1.06}}},
                                      {14, {{0.10, 0.05}}}};
    std::map<int, Bounds> here;
    for (const Goal& one : kGoals)
        if (one.must > 0) here[one.row].emplace(one.must, one.stretch);
    CHECK(here == given);
}

TEST_CASE("bench: a figure that is missing says why") {
    Results results;
    const Goal one = goal(Kind::faster, "ours", "theirs");
    CHECK(results.why(one) == "a job is missing");
    results.fail("part", "theirs", "no torch");
    CHECK(results.why(one) == "no torch");
    results.fail("part", "", "out of memory");
    CHECK(results.why(one) == "out of memory");
    CHECK(short_reason("a\n  b | c") == "a b c");
    CHECK(results.missing("part") == 1);  // the reason of the part itself is none of a job
    CHECK(results.missing("par") == 0);
}

TEST_CASE("bench: a job that was announced is missing until it is there") {
    Results results;
    results.fail("part", "one", "not there yet");
    results.fail("part", "other", "not there yet");
    CHECK(results.missing("part") == 2);
    results.add({timed("part", "one", 1, 0, {1.0})});
    CHECK(results.missing("part") == 1);
    CHECK(find_job(results.jobs, "part", "one") != nullptr);
}

TEST_CASE("bench: a deal gives every expert its rows, and no token one expert twice") {
    const std::vector<Index> count{40, 10, 30, 20};
    const auto expert = Deal(std::vector<Index>(50, 2), count).experts(3, -1);
    std::vector<Index> rows(4, 0);
    for (Index t = 0; t < 50; ++t) {
        const std::int32_t* row = expert.data() + 3 * t;
        CHECK(row[0] != row[1]);
        CHECK(row[2] == -1);
        for (int k = 0; k < 2; ++k) ++rows[static_cast<std::size_t>(row[k])];
    }
    CHECK(rows == count);
    CHECK(shares({1, 1, 2}, 10) == std::vector<Index>{3, 2, 5});
}
