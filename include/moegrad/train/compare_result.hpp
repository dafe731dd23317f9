#pragma once
// What a comparison knows when its runs are done: each run as its folder tells it (eval/results.json, eval/items.jsonl,
// run.json), the arms' means over questions and seeds, and the paired differences of every two arms.
// run.json is written last: {"fingerprint", "tokens_per_second"}; only the second varies from time to time.

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/io/json_lines.hpp>
#include <moegrad/train/assay.hpp>
#include <moegrad/train/compare_spec.hpp>
#include <moegrad/train/compare_statistics.hpp>

namespace moegrad {

struct CompareRun {
    std::uint64_t seed = 0;
    std::string folder;                // below the compare's
    std::vector<std::string> ids;      // of the questions
    std::vector<double> correct, nll;  // per question; nll of the right choice
    std::map<std::string, Estimate>
        measures;  // load, flops_saved, fact_auroc, trainable, where they are known
    double tokens_per_second = 0;
};

struct ComparedArm {
    std::string name, method;
    bool control = false;
    std::vector<CompareRun> runs;

    ItemsBySeed items(const std::string& metric) const {
        ItemsBySeed all;
        for (const CompareRun& run : runs) all.push_back(metric == "acc" ? run.correct : run.nll);
        return all;
    }
    /// acc and nll over questions and seeds, everything else over seeds; nothing when a run does not know it.
    std::optional<Estimate> measure(const std::string& metric) const {
        if (metric == "acc" && runs.size() == 1) {
            const auto& right = runs.front().correct;
            return proportion(std::count(right.begin(), right.end(), 1.0), static_cast<Index>(right.size()));
        }
        const bool share = metric == "acc" || metric == "fact_auroc";
        if (metric == "acc" || metric == "nll")
            return within(mean_over_items_and_seeds(items(metric)), true, share);
        std::vector<Estimate> all;
        for (const CompareRun& run : runs) {
            const auto found = run.measures.find(metric);
            if (found == run.measures.end()) return std::nullopt;
            all.push_back(found->second);
        }
        return within(mean_over_seeds(all), metric != "flops_saved", share);
    }

private:
    /// An interval does not leave what the number can be.
    static Estimate within(Estimate e, bool from_zero, bool to_one) {
        if (from_zero) e.low = std::max(e.low, 0.0);
        if (to_one) e.high = std::min(e.high, 1.0);
        return e;
    }
};

/// a - b of acc or nll.
struct ComparedPair {
    std::string a, b, metric;
    Estimate difference;

    /// 1: a is better, -1: b is, 0: the interval holds zero.
    int better() const { return metric == "nll" ? -sign_of(difference) : sign_of(difference); }
    std::string says() const {
        const char* of = metric == "nll" ? "nll of the right answers" : "accuracy";
        if (better() == 0) return format("{} and {} cannot be told apart by {}", a, b, of);
        return format("{} is better than {} by {}", better() > 0 ? a : b, better() > 0 ? b : a, of);
    }
};

struct CompareResult {
    std::string name, task, model;
    std::vector<std::uint64_t> seeds;
    std::optional<Assay> assay;
    ComparedArm base;  // the model before any fine-tuning
    std::vector<ComparedArm> arms;
    std::vector<ComparedPair> pairs;  // a after b in the order of the arms
    std::vector<std::string> notes;
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
        run.correct.push_back(line.at("correct").boolean() ? 1 : 0);
        run.nll.push_back(line.at("nll").number(-1e300, 1e300));
    });
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
    for (const char* key : {"load", "flops_saved", "fact_auroc", "trainable"}) {
        const auto with_interval = root.find_value(std::string(key) + "_interval");
        const auto found = with_interval ? with_interval : root.find_value(key);
        if (found) run.measures[key] = detail::read_estimate(*found);
    }
    detail::read_compared_items(path + "/eval/items.jsonl", run);
    const Json marker = parse_json_file(path + "/run.json");
    run.tokens_per_second =
        JsonRef(marker, path + "/run.json", ErrorCode::format).at("tokens_per_second").number(0, 1e300);
    return run;
}

/// Every two arms, the later minus the earlier; the questions must be the same ones in the same order.
inline std::vector<ComparedPair> compared_pairs(const std::vector<ComparedArm>& arms) {
    std::vector<ComparedPair> pairs;
    for (std::size_t j = 0; j < arms.size(); ++j) {
        for (std::size_t i = j + 1; i < arms.size(); ++i) {
            for (std::size_t s = 0; s < arms[i].runs.size(); ++s) {
                if (arms[i].runs[s].ids == arms[j].runs[s].ids) continue;
                throw Error{ErrorCode::data, arms[i].runs[s].folder,
                            "the questions of " + arms[j].runs[s].folder, "others, or another order",
                            "delete both folders and run again"};
            }
            for (const char* metric : {"acc", "nll"}) {
                pairs.push_back({arms[i].name, arms[j].name, metric,
                                 paired_over_items_and_seeds(arms[i].items(metric), arms[j].items(metric))});
            }
        }
    }
    return pairs;
}

}  // namespace moegrad
