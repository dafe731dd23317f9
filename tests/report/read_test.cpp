// Reading run and compare folders, and what is computed from them.

#include <moegrad/report/heat.hpp>
#include <moegrad/report/read.hpp>
#include <moegrad/report/router_use.hpp>

#include "support.hpp"

using namespace moegrad;
using namespace moegrad::report;
using report_test::expect_error;
using report_test::Folder;

TEST_CASE("report reads a run folder") {
    const Folder folder;
    report_test::write_run(folder, "run-a", true);
    const ReportData data = read_report({folder.file("run-a") + "/"});
    CHECK_FALSE(data.comparison);
    CHECK(data.name == "run-a");
    CHECK(data.model == "tiny");
    REQUIRE(data.arms.size() == 1);
    const Arm& arm = data.arms[0];
    CHECK(arm.method == "adamoe");
    CHECK(arm.seeds == std::vector<std::int64_t>{3});
    CHECK(arm.measure("acc").low == 0.25);
    CHECK(arm.measure("load").value == 1.25);
    CHECK_FALSE(arm.measure("seconds").known());
    const RunFolder& run = arm.runs[0];
    CHECK(run.steps.size() == 20);
    CHECK(run.evaluations.size() == 2);
    CHECK(run.steps[1].value("ce") == 1.9375);
    CHECK(run.items.size() == 3);
    CHECK(run.tokens.texts[0].tokens[0].experts[1] == std::vector<std::int64_t>{1, 2});
}

TEST_CASE("report reads a comparison, and several runs side by side") {
    const Folder folder;
    report_test::write_comparison(folder);
    const ReportData data = read_report({folder.path()});
    CHECK(data.comparison);
    CHECK(data.model == "tiny");
    REQUIRE(data.arms.size() == 2);
    CHECK(data.arms[0].control);
    CHECK(data.arms[1].measure("acc").high == 0.75);
    CHECK_FALSE(data.arms[1].measure("fact_auroc").known());
    CHECK(data.pairs.at(0).says == "they differ");
    REQUIRE(data.assay);
    CHECK(data.assay->ok);
    CHECK(data.arms[1].runs[0].tokens.texts.size() == 1);
    const ReportData both = read_report({folder.file("a-0"), folder.file("b-0")});
    CHECK_FALSE(both.comparison);
    CHECK(both.arms.at(1).name == "b-0");
}

TEST_CASE("report: an arm's texts are read for its first seed alone, the number of experts is that of all") {
    const Folder folder;
    report_test::write_comparison(folder);
    report_test::write_run(folder, "b-1", true);
    folder.write("b-1/eval/tokens.json", "not even JSON");
    std::string runs = report_test::compare_json();
    const std::string one = R"({"seed":3,"folder":"b-0"})";
    runs.replace(runs.find(one), one.size(), one + R"(,{"seed":4,"folder":"b-1"})");
    folder.write("compare.json", runs);
    const ReportData data = read_report({folder.path()});
    REQUIRE(data.arms.at(1).runs.size() == 2);
    CHECK(data.arms[1].runs[0].tokens.texts.size() == 1);
    CHECK(data.arms[1].runs[1].tokens.texts.empty());
    CHECK(data.arms[1].runs[1].tokens.experts == 3);
}

TEST_CASE("report: damaged files are errors that name file, line and key") {
    const Folder folder;
    report_test::write_comparison(folder);
    const auto read = [&] { read_report({folder.path()}); };
    const auto damaged = [&](const char* name, const std::string& text, ErrorCode code,
                             const std::string& words) {
        const std::string before = folder.read(name);
        folder.write(name, text);
        expect_error(code, words, read);
        folder.write(name, before);
    };
    damaged("a-0/metrics.jsonl", "{\"step\":0,\"ce\":1}\n{\"step\":1,", ErrorCode::format, "metrics.jsonl:2");
    damaged("a-0/metrics.jsonl", "{\"ce\":1}\n", ErrorCode::data, "metrics.jsonl:1: step");
    damaged("a-0/metrics.jsonl", "{\"step\":-1,\"ce\":1}\n", ErrorCode::data, "step");
    damaged("a-0/eval/items.jsonl", "[1]\n", ErrorCode::data, "items.jsonl:1");
    damaged("a-0/eval/items.jsonl",
            "{\"id\":\"q\",\"answer\":0,\"chosen\":0,\"correct\":1,\"loglikelihood\":[]}\n", ErrorCode::data,
            "correct");
    damaged("a-0/eval/results.json", "{\"metrics\":{\"acc\":{\"value\":\"x\"}}}", ErrorCode::format,
            "metrics.acc.value");
    damaged(
        "a-0/eval/tokens.json",
        R"({"layers":2,"experts":3,"slots":2,"texts":[{"id":"q","tokens":[{"text":"a","experts":[[0]]}]}]})",
        ErrorCode::format, "2 layers");
    damaged(
        "a-0/eval/tokens.json",
        R"({"layers":1,"experts":3,"slots":2,"texts":[{"id":"q","tokens":[{"text":"a","experts":[[3]]}]}]})",
        ErrorCode::format, "0..2");
    damaged("compare.json", "{", ErrorCode::format, "compare.json");
    damaged("compare.json", report_test::compare_json("../elsewhere"), ErrorCode::format, "a folder inside");
    damaged("compare.json", report_test::compare_json("/tmp"), ErrorCode::format, "a folder inside");
    expect_error(ErrorCode::file, "no such folder", [&] { read_report({folder.file("nothing")}); });
    std::filesystem::create_directories(folder.file("empty"));
    expect_error(ErrorCode::file, "metrics.jsonl", [&] { read_report({folder.file("empty")}); });
    expect_error(ErrorCode::config, "on its own", [&] { read_report({folder.file("a-0"), folder.path()}); });
    expect_error(ErrorCode::config, "at least one", [] { read_report({}); });
}

TEST_CASE("report: shares of experts before and after, dead experts, nulls") {
    const Folder folder;
    report_test::write_run(folder, "run", true);
    const ReportData data = read_report({folder.file("run")});
    const RunUse use = run_use(data.arms[0].runs[0]);
    REQUIRE(use.routers.size() == 2);
    CHECK(use.experts == 3);
    CHECK(use.columns == 6);
    CHECK(use.steps_after == 2);
    CHECK(use.tokens_before == 10);
    CHECK(use.tokens_after == 20);
    CHECK(use.routers[0].label == "layer 0");
    CHECK(use.routers[0].before == std::vector<double>{0.8, 0.6, 0.6, 0.3, 0.4, 0.5});
    CHECK(use.routers[0].after == std::vector<double>{1.2, 0.8, 0, 0.3, 0.4, 0.5});
    CHECK(use.dead(0) == std::vector<std::size_t>{2});
    CHECK(use.dead(1).empty());
    CHECK(use.routers[0].experts_per_token == std::vector<double>{0.1, 0.5, 0.4, 0});
    CHECK(use.routers[0].load == doctest::Approx(1.3));
    CHECK(use.routers[0].all_null == doctest::Approx(0.1));
}

TEST_CASE("report: curves average over buckets, then over seeds") {
    ReportData data;
    data.arms.resize(1);
    for (int seed = 0; seed < 2; ++seed) {
        RunFolder run;
        for (std::int64_t step = 0; step < 2 * kPoints; ++step) {
            MetricsLine line;
            line.step = step;
            line.values = {{"ce", static_cast<double>(step + 10 * seed)}};
            run.steps.push_back(line);
        }
        data.arms[0].runs.push_back(run);
    }
    const CurveSet set = arm_curves(data, [](const MetricsLine& line) { return line.value("ce"); });
    CHECK(set.per_point == 2);
    REQUIRE(set.x.size() == static_cast<std::size_t>(kPoints));
    CHECK(set.x[1] == 2.5);
    CHECK(set.curves[0].y[1] == 7.5);
    CHECK(set.curves[0].low[1] == 2.5);
    CHECK(set.curves[0].high[1] == 12.5);
    CHECK(arm_curves(data, [](const MetricsLine& line) { return line.value("nothing"); }).empty());
    CHECK(router_label("model.layers.12.mlp") == "layer 12");
    CHECK(router_label("model.layers.3.self_attn.q_proj") == "3 self_attn.q_proj");
    CHECK(router_label("gate") == "gate");
}

TEST_CASE("report: a heat map of many cells is one path per colour, and few columns are named") {
    HeatColumns columns;
    std::vector<std::vector<HeatCell>> rows(2);
    for (int c = 0; c < 160; ++c) {
        columns.names.push_back(std::to_string(c));
        for (auto& row : rows) row.push_back({c % 2 ? "s3" : "s7", "12", "tip", c == 5});
    }
    const std::string large = heat_svg({"layer 0", "layer 1"}, columns, rows, "load");
    CHECK(report_test::count(large, "class=\"fill ") == 2);
    CHECK(report_test::count(large, "deadmark") == 1);
    CHECK(report_test::count(large, "data-tip") == 0);
    CHECK(report_test::count(large, "<text class=\"x") == 10);
    columns.names.resize(4);
    const std::string small = heat_svg({"layer 0", "layer 1"}, columns, rows, "load");
    CHECK(report_test::count(small, "data-tip=\"tip\"") == 8);
    CHECK(report_test::count(small, "<text class=\"x") == 4);
}
