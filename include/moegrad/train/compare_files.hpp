#pragma once
// compare.json and compare.csv. The shape of the first is that which the report reads (report/read.hpp).

#include <moegrad/eval/evaluate.hpp>
#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/train/assay_json.hpp>
#include <moegrad/train/compare_table.hpp>

#include <string>

namespace moegrad {

namespace detail {

inline constexpr const char* kCompareMetrics[] = {"acc", "nll", "load", "flops_saved", "fact_auroc"};

inline Json compared_arm_json(const ComparedArm& arm) {
    Json json = Json::object(), metrics = Json::object();
    Json::Array runs;
    for (const CompareRun& run : arm.runs) {
        Json one = Json::object();
        one.add("seed", static_cast<std::int64_t>(run.seed));
        one.add("folder", run.folder);
        runs.push_back(std::move(one));
    }
    for (const char* metric : kCompareMetrics) {
        if (const auto e = arm.measure(metric)) metrics.add(metric, estimate_json(*e));
    }
    if (const auto e = arm.measure("trainable"))
        metrics.add("trainable", static_cast<std::int64_t>(e->value));
    double speed = 0;
    for (const CompareRun& run : arm.runs)
        speed += run.tokens_per_second / static_cast<double>(arm.runs.size());
    metrics.add("tokens_per_second", speed);
    json.add("name", arm.name);
    json.add("method", arm.method);
    json.add("control", arm.control);
    json.add("runs", Json(std::move(runs)));
    json.add("metrics", std::move(metrics));
    return json;
}

}  // namespace detail

inline Json to_json(const CompareResult& result) {
    Json json = Json::object();
    json.add("name", result.name);
    json.add("task", result.task);
    json.add("questions", static_cast<std::int64_t>(result.base.runs.front().correct.size()));
    json.add("model", result.model);
    json.add("base_acc", result.base.measure("acc")->value);
    json.add("base_nll", result.base.measure("nll")->value);
    if (result.assay) json.add("assay", detail::assay_json(*result.assay));
    Json::Array arms, pairs;
    for (const ComparedArm& arm : result.arms) arms.push_back(detail::compared_arm_json(arm));
    for (const ComparedPair& pair : result.pairs) {
        Json one = Json::object();
        one.add("a", pair.a);
        one.add("b", pair.b);
        one.add("metric", pair.metric);
        one.add("value", pair.difference.value);
        one.add("low", pair.difference.low);
        one.add("high", pair.difference.high);
        one.add("says", pair.says());
        pairs.push_back(std::move(one));
    }
    json.add("arms", Json(std::move(arms)));
    json.add("paired", Json(std::move(pairs)));
    json.add("text", compare_text(result));
    json.add("varies", Json(Json::Array{"tokens_per_second"}));
    return json;
}

/// One row per arm, the base first; nothing that varies.
inline std::string compare_csv(const CompareResult& result) {
    std::string text = "arm,method,control,seeds,questions";
    for (const char* metric : detail::kCompareMetrics) text += format(",{0},{0}_low,{0}_high", metric);
    text += ",trainable\n";
    const auto row = [&](const ComparedArm& arm) {
        text += format("{},{},{},{},{}", arm.name, arm.method, arm.control ? 1 : 0, arm.runs.size(),
                       arm.runs.front().correct.size());
        for (const char* metric : detail::kCompareMetrics) {
            const auto e = arm.measure(metric);
            text += e ? format(",{},{},{}", e->value, e->low, e->high) : ",,,";
        }
        const auto trainable = arm.measure("trainable");
        text += trainable ? format(",{}\n", trainable->value) : ",\n";
    };
    row(result.base);
    for (const ComparedArm& arm : result.arms) row(arm);
    return text;
}

inline void write_compare_files(const CompareResult& result, const std::string& folder) {
    write_file_atomically(folder + "/compare.json", write_json(to_json(result), JsonStyle::indented));
    write_file_atomically(folder + "/compare.csv", compare_csv(result));
}

}  // namespace moegrad
