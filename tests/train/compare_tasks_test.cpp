// compare over several tasks: questions and texts, and what they say together.

#include "train/compare_world.hpp"

#include <moegrad/compare_toml.hpp>

#include <moegrad/train/compare.hpp>
#include <moegrad/train/compare_suite.hpp>

#include <doctest/doctest.h>

#include <numeric>

using namespace moegrad;
using test::TinyWorld;

TEST_CASE("compare: tasks of questions and of texts, and what they say together") {
    const TinyWorld world;
    const std::string toml =
        world.recipe() +
        "[[task]]\nname = \"quiz\"\n[[task]]\nname = \"texts\"\nquestions = \"\"\ntexts = \"" +
        world.path("heldout.jsonl") + "\"\ntrain.steps = 2\n";
    CompareSuite suite = parse_compare_toml(toml, "arms.toml");
    REQUIRE(suite.tasks.size() == 2);
    std::vector<CompareResult> results;
    for (CompareSpec& task : suite.tasks) {
        task.output = world.path("suite-" + task.task);
        task.threads = 1;
        task.seeds = {0, 3};
        results.push_back(
            run_compare<float>(task, [](CompareNews, const std::string&, const std::string&) {}));
    }
    CHECK(results[1].metrics.front().key == std::string("bits_per_byte"));
    // The mean over texts is that of all bytes together: as eval/results.json has it.
    const Json json = parse_json_file(world.path("suite-texts/plain-0/eval/results.json"));
    const double whole =
        JsonRef(json, "results").at("metrics").at("bits_per_byte").at("value").number(0, 100);
    const auto& items = results[1].arms[0].runs[0].items.at("bits_per_byte");
    CHECK(std::accumulate(items.begin(), items.end(), 0.0) / static_cast<double>(items.size()) ==
          doctest::Approx(whole).epsilon(1e-12));
    const std::string table = suite_table(results), csv = suite_csv(results), text = suite_text(results);
    CHECK(table.find("quiz, accuracy %") != std::string::npos);
    CHECK(table.find("texts, bits per byte") != std::string::npos);
    CHECK(csv.find("texts,nulls,bits_per_byte,") != std::string::npos);
    CHECK(text.find("nulls") != std::string::npos);
    for (const CompareRun& run : results[0].arms[0].runs) {
        CHECK(run.step_seconds > 0);
        CHECK(run.peak_bytes > 1000);
    }
}

TEST_CASE("compare: the mean over tasks adds the errors of independent estimates") {
    const Estimate mean = mean_of_tasks({{1, 0.7, 1.3, 10}, {3, 2.6, 3.4, 10}});
    CHECK(mean.value == 2);
    CHECK(mean.high - mean.value == doctest::Approx(std::sqrt(0.09 + 0.16) / 2));
}

TEST_CASE("compare: the mean over tasks is not narrower for intervals that end where the number does") {
    // Bits per byte of two seeds and three texts: a wide interval around 0.5, cut at zero where it is shown.
    CompareResult task;
    task.task = "texts", task.metrics = document_metrics();
    ComparedArm arm;
    for (const double seed : {-0.4, 0.4}) {
        CompareRun run;
        run.items["bits_per_byte"] = {0.5 + seed, 0.4 + seed, 0.6 + seed};
        arm.runs.push_back(run);
    }
    task.arms = {arm};
    const Estimate whole = mean_over_items_and_seeds(arm.items("bits_per_byte"));
    REQUIRE(whole.low < 0);
    CHECK(arm.measure("bits_per_byte")->low == 0);
    // One task: its own interval.
    const Estimate one = SuiteColumn({task}, kBitsPerByte).mean(0);
    CHECK(one.low == 0);
    CHECK(one.high == doctest::Approx(whole.high));
    // Of two that are alike half the variance.
    const Estimate two = SuiteColumn({task, task}, kBitsPerByte).mean(0);
    CHECK(two.high - two.value == doctest::Approx((whole.high - whole.value) / std::sqrt(2.0)));
}
