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

/// Columns of both files: what has items, then what every run has.
inline std::vector<std::string> compared_columns(const CompareResult& result) {
    std::vector<std::string> all;
    for (const CompareMetric& metric : result.metrics) all.emplace_back(metric.key);
    all.insert(all.end(), {"load", "load_cv", "flops_saved", "fact_auroc"});
    return all;
}

inline Json compared_arm_json(const ComparedArm& arm, const std::vector<std::string>& columns) {
    Json json = Json::object(), metrics = Json::object();
    Json::Array runs;
    for (const CompareRun& run : arm.runs) {
        Json one = Json::object();
        one.add("seed", static_cast<std::int64_t>(run.seed));
        one.add("folder", run.folder);
        runs.push_back(std::move(one));
    }
    for (const std::string& metric : columns) {
        if (const auto e = arm.measure(metric)) metrics.add(metric, estimate_json(*e));
    }
    if (const auto e = arm.measure("trainable"))
        metrics.add("trainable", static_cast<std::int64_t>(e->value));
    double speed = 0, step = 0, peak = 0;
    for (const CompareRun& run : arm.runs) {
        speed += run.tokens_per_second / static_cast<double>(arm.runs.size());
        step += run.step_seconds / static_cast<double>(arm.runs.size());
        peak = std::max(peak, run.peak_bytes);
    }
    metrics.add("tokens_per_second", speed);
    metrics.add("step_seconds", step);
    metrics.add("peak_bytes", peak);
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
    const std::vector<std::string> columns = detail::compared_columns(result);
    json.add("questions", static_cast<std::int64_t>(result.base.runs.front().ids.size()));
    json.add("model", result.model);
    for (const CompareMetric& metric : result.metrics)
        json.add(format("base_{}", metric.key), result.base.measure(metric.key)->value);
    if (result.facts) json.add("facts", to_json(*result.facts));
    if (result.assay) json.add("assay", detail::assay_json(*result.assay));
    Json::Array arms, pairs;
    for (const ComparedArm& arm : result.arms) arms.push_back(detail::compared_arm_json(arm, columns));
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
    json.add("varies", Json(Json::Array{"tokens_per_second", "step_seconds"}));
    return json;
}

/// One row per arm, the base first; nothing that varies.
inline std::string compare_csv(const CompareResult& result) {
    std::string text = "arm,method,control,seeds,questions";
    const std::vector<std::string> columns = detail::compared_columns(result);
    for (const std::string& metric : columns) text += format(",{0},{0}_low,{0}_high", metric);
    text += ",trainable\n";
    const auto row = [&](const ComparedArm& arm) {
        text += format("{},{},{},{},{}", arm.name, arm.method, arm.control ? 1 : 0, arm.runs.size(),
                       arm.runs.front().ids.size());
        for (const std::string& metric : columns) {
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
