#pragma once
// What a comparison knows when its runs are done: each run as its folder tells it (eval/results.json, eval/items.jsonl,
// run.json), the arms' means over questions and seeds, and the paired differences of every two arms.
// run.json is written last: {"fingerprint", "tokens_per_second", "step_seconds", "peak_bytes"}; the two times vary.

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/core/math.hpp>
#include <moegrad/eval/task_facts.hpp>
#include <moegrad/io/json_lines.hpp>
#include <moegrad/train/assay.hpp>
#include <moegrad/train/compare_metrics.hpp>
#include <moegrad/train/compare_spec.hpp>
#include <moegrad/train/compare_statistics.hpp>

namespace moegrad {

struct CompareRun {
    std::uint64_t seed = 0;
    std::string folder;                                // below the compare's
    std::vector<std::string> ids;                      // of the questions or texts
    std::map<std::string, std::vector<double>> items;  // metric -> a number for each of them
    std::map<std::string, Estimate>
        measures;  // load, flops_saved, fact_auroc, trainable, where they are known
    double tokens_per_second = 0, step_seconds = 0;  // of training; by the clock
    double ask_seconds = 0;                          // for all questions or texts; by the clock
    double peak_bytes = 0;
    std::vector<double> loss;  // training cross entropy, step by step; none of a run that did not train

    /// A number of the whole run; a run that did not train has no step_seconds.
    std::optional<double> number(const std::string& metric) const {
        if (metric == "step_seconds" && step_seconds > 0) return step_seconds;
        if (metric == "ask_seconds") return ask_seconds;
        const auto found = measures.find(metric);
        if (found == measures.end()) return std::nullopt;
        return found->second.value;
    }
};

struct ComparedArm {
    std::string name, method;
    bool control = false;
    std::vector<CompareRun> runs;

    ItemsBySeed items(const std::string& metric) const {
        ItemsBySeed all;
        for (const CompareRun& run : runs) all.push_back(run.items.at(metric));
        return all;
    }
    /// measure_whole, within what the number can be.
    std::optional<Estimate> measure(const std::string& metric) const {
        const auto whole = measure_whole(metric);
        if (!whole) return whole;
        return within(*whole, metric != "flops_saved", metric == "acc" || metric == "fact_auroc");
    }
    /// What has items over items and seeds, everything else over seeds; nothing when a run does not know it. A mean of several needs
    /// the whole interval: one that was cut has lost its width.
    std::optional<Estimate> measure_whole(const std::string& metric) const {
        if (!runs.empty() && runs.front().items.contains(metric)) {
            const auto& first = runs.front().items.at(metric);
            if (metric == "acc" && runs.size() == 1)
                return proportion(std::count(first.begin(), first.end(), 1.0),
                                  static_cast<Index>(first.size()));
            return mean_over_items_and_seeds(items(metric));
        }
        std::vector<Estimate> all;
        for (const CompareRun& run : runs) {
            const auto found = run.measures.find(metric);
            if (found == run.measures.end()) return std::nullopt;
            all.push_back(found->second);
        }
        return mean_over_seeds(all);
    }

    /// An interval does not leave what the number can be.
    static Estimate within(Estimate e, bool from_zero, bool to_one) {
        if (from_zero) e.low = std::max(e.low, 0.0);
        if (to_one) e.high = std::min(e.high, 1.0);
        return e;
    }
};

/// a - b of a metric with items.
struct ComparedPair {
    std::string a, b, metric;
    Estimate difference;

    /// 1: a is better, -1: b is, 0: the interval holds zero.
    int better() const {
        return compare_metric(metric).less_is_better ? -sign_of(difference) : sign_of(difference);
    }
    std::string says() const {
        const char* of = compare_metric(metric).word;
        if (better() == 0) return format("{} and {} cannot be told apart by {}", a, b, of);
        return format("{} is better than {} by {}", better() > 0 ? a : b, better() > 0 ? b : a, of);
    }
};

struct CompareResult {
    std::string name, task, model;
    std::vector<std::uint64_t> seeds;
    std::optional<Assay> assay;
    std::optional<TaskFacts> facts;  // of questions that `tasks` wrote
    ComparedArm base;                // the model before any fine-tuning
    std::vector<ComparedArm> arms;
    std::vector<ComparedPair> pairs;  // a after b in the order of the arms
    std::vector<std::string> notes;
    std::vector<CompareMetric> metrics = question_metrics();  // those with items
};

namespace detail {

inline Estimate read_estimate(const JsonRef& json) {
    constexpr double most = 1e300;
    if (json.value().number()) {
        const double value = json.number(-most, most);
        return {value, value, value, 0};
    }
    Estimate estimate;
    estimate.value = json.at("value").number(-most, most);
    const auto side = [&](const char* key) {
        const auto found = json.find_value(key);
        return found ? found->number(-most, most) : estimate.value;
    };
    estimate.low = side("low");
    estimate.high = side("high");
    if (const auto n = json.find_value("n")) estimate.n = n->integer(0, INT64_MAX);
    return estimate;
}

inline void read_compared_items(const std::string& path, CompareRun& run) {
    read_json_lines(path, [&](const JsonRef& line) {
        run.ids.push_back(line.at("id").string());
        run.items["acc"].push_back(line.at("correct").boolean() ? 1 : 0);
        run.items["nll"].push_back(line.at("nll").number(-1e300, 1e300));
    });
}

/// A text's share of the whole: their mean is that of all bytes together.
inline void read_compared_texts(const std::string& path, CompareRun& run) {
    std::vector<double> bits;
    double bytes = 0;
    read_json_lines(path, [&](const JsonRef& line) {
        run.ids.push_back(line.at("id").string());
        bits.push_back(line.at("nll").number(-1e300, 1e300) / moegrad::log(2.0));
        bytes += line.at("bytes").number(0, 1e300);
    });
    for (double& one : bits) one *= static_cast<double>(bits.size()) / bytes;
    run.items["bits_per_byte"] = std::move(bits);
}

/// The losses of metrics.jsonl; its other lines are evaluations.
inline std::vector<double> read_losses(const std::string& path) {
    std::vector<double> losses;
    if (!file_exists(path)) return losses;
    read_json_lines(path, [&](const JsonRef& line) {
        if (const auto ce = line.find_value("ce")) losses.push_back(ce->number(-1e300, 1e300));
    });
    return losses;
}

}  // namespace detail

/// `folder` is the compare's.
inline CompareRun read_compared_run(const std::string& folder, const std::string& name, std::uint64_t seed) {
    CompareRun run;
    run.seed = seed;
    run.folder = name;
    const std::string path = folder + "/" + name, results = path + "/eval/results.json";
    const Json json = parse_json_file(results);
    const JsonRef root(json, results, ErrorCode::format);
    for (const char* key : {"load", "load_cv", "flops_saved", "fact_auroc", "trainable"}) {
        const auto with_interval = root.find_value(std::string(key) + "_interval");
        const auto found = with_interval ? with_interval : root.find_value(key);
        if (found) run.measures[key] = detail::read_estimate(*found);
    }
    run.ask_seconds = root.at("seconds").number(0, 1e300);
    run.loss = detail::read_losses(path + "/metrics.jsonl");
    if (file_exists(path + "/eval/items.jsonl")) {
        detail::read_compared_items(path + "/eval/items.jsonl", run);
    } else {
        detail::read_compared_texts(path + "/eval/texts.jsonl", run);
    }
    const Json marker = parse_json_file(path + "/run.json");
    const JsonRef done(marker, path + "/run.json", ErrorCode::format);
    run.tokens_per_second = done.at("tokens_per_second").number(0, 1e300);
    run.step_seconds = done.at("step_seconds").number(0, 1e300);
    run.peak_bytes = done.at("peak_bytes").number(0, 1e300);
    return run;
}

/// Every two arms, the later minus the earlier; the questions must be the same ones in the same order.
inline std::vector<ComparedPair> compared_pairs(const std::vector<ComparedArm>& arms,
                                                const std::vector<CompareMetric>& metrics) {
    std::vector<ComparedPair> pairs;
    for (std::size_t j = 0; j < arms.size(); ++j) {
        for (std::size_t i = j + 1; i < arms.size(); ++i) {
            for (std::size_t s = 0; s < arms[i].runs.size(); ++s) {
                if (arms[i].runs[s].ids == arms[j].runs[s].ids) continue;
                throw Error{ErrorCode::data, arms[i].runs[s].folder,
                            "the questions of " + arms[j].runs[s].folder, "others, or another order",
                            "delete both folders and run again"};
            }
            for (const CompareMetric& metric : metrics) {
                pairs.push_back(
                    {arms[i].name, arms[j].name, metric.key,
                     paired_over_items_and_seeds(arms[i].items(metric.key), arms[j].items(metric.key))});
            }
        }
    }
    return pairs;
}

}  // namespace moegrad
