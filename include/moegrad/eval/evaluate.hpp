#pragma once
// A whole evaluation: results.json, items.jsonl and tokens.json in one folder, and the lines of a table.
//   results.json  {"task","n","metrics":{"acc":{"value","low","high","n"},..},"load","load_cv","flops_saved","fact_auroc",
//                  "fact_auroc_interval","keys","trainable","truncated","first":{"prompt","context","ids"},"seconds"}
//   items.jsonl   one line per question; texts.jsonl one line per text
//   tokens.json   TokenRouting::json, where there are routers
// load, flops_saved and fact_auroc are null where they mean nothing: no router, no mixture of experts, no fact labels;
// flops_saved also where a method runs more, or less, than flops.hpp counts.
// `seconds` is the only number that differs between two runs.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/eval/answers.hpp>
#include <moegrad/eval/choice.hpp>
#include <moegrad/eval/text.hpp>
#include <moegrad/io/atomic_file.hpp>

namespace moegrad {

struct TaskSummary {
    std::string task;
    Index n = 0;
    std::vector<Metric> metrics;
    std::optional<double> load, load_cv, flops_saved, keys;
    std::optional<Estimate> fact_auroc;
    Index trainable = 0, truncated = 0;
    std::string first_prompt;
    std::vector<std::int32_t> first_ids;
    Index first_context = 0;
    double seconds = 0;
};

/// Whether a model runs what flops.hpp counts by its config: no branch, no expert set beside a mixture's own experts (one
/// that runs some of them in their place is no more), no hook around a layer.
template <class Real>
bool flops_are_counted(Decoder<Real>& model) {
    for (const auto& layer : model.layers()) {
        if (!layer.branches.empty() || layer.hook) return false;
        for (const auto& moe : layer.moe) {
            if (!moe.beside.empty() && !moe.own) return false;
        }
    }
    return true;
}

/// What the routers of an evaluation add to its summary. counted: flops_are_counted of the model.
inline void summarize_routing(TaskSummary& summary, const TokenRouting& routing, const ModelConfig& config,
                              bool counted) {
    if (routing.empty()) return;
    summary.load = config.is_mixture() ? routing.mixture_load() : routing.load();
    summary.load_cv = config.is_mixture() ? routing.mixture_load_cv() : routing.load_cv();
    summary.keys = routing.keys();
    summary.fact_auroc = routing.fact_auroc();
    // For mixtures of adapters on a dense model the load is no measure of cost.
    if (config.is_mixture() && counted)
        summary.flops_saved = flops_saved(config, routing.keys(), routing.mixture_load());
}

inline TaskSummary summarize(const ChoiceEvaluation& evaluation, const ModelConfig& config,
                             const std::string& task, bool counted = true) {
    TaskSummary summary;
    summary.task = task;
    summary.n = static_cast<Index>(evaluation.items.size());
    summary.metrics = evaluation.metrics;
    summary.truncated = evaluation.truncated;
    summary.first_prompt = evaluation.first_prompt;
    summary.first_ids = evaluation.first_ids;
    summary.first_context = evaluation.first_context;
    summarize_routing(summary, evaluation.routing, config, counted);
    return summary;
}

inline TaskSummary summarize(const TextEvaluation& evaluation, const ModelConfig& config,
                             const std::string& task, bool counted = true) {
    TaskSummary summary;
    summary.task = task;
    summary.n = static_cast<Index>(evaluation.items.size());
    summary.metrics = evaluation.metrics;
    summary.first_prompt = evaluation.first_prompt.substr(0, 2000);
    summary.first_ids = evaluation.first_ids;
    if (summary.first_ids.size() > 1000) summary.first_ids.resize(1000);
    summarize_routing(summary, evaluation.routing, config, counted);
    return summary;
}

inline TaskSummary summarize(const AnswerEvaluation& evaluation, const std::string& task) {
    TaskSummary summary;
    summary.task = task;
    summary.n = static_cast<Index>(evaluation.items.size());
    summary.metrics = evaluation.metrics;
    summary.truncated = evaluation.truncated;
    summary.first_prompt = evaluation.first_prompt;
    summary.first_ids = evaluation.first_ids;
    summary.first_context = static_cast<Index>(evaluation.first_ids.size());
    return summary;
}

inline Json estimate_json(const Estimate& estimate) {
    Json json = Json::object();
    json.add("value", estimate.value);
    json.add("low", estimate.low);
    json.add("high", estimate.high);
    json.add("n", estimate.n);
    return json;
}

inline Json summary_json(const TaskSummary& summary) {
    const auto optional = [](const std::optional<double>& x) { return x ? Json(*x) : Json(); };
    Json metrics = Json::object();
    for (const Metric& metric : summary.metrics) metrics.add(metric.name, estimate_json(metric.estimate));
    Json ids = Json(Json::Array(summary.first_ids.begin(), summary.first_ids.end()));
    Json first = Json::object();
    first.add("prompt", summary.first_prompt);
    first.add("context", summary.first_context);
    first.add("ids", std::move(ids));
    Json root = Json::object();
    root.add("task", summary.task);
    root.add("n", summary.n);
    root.add("metrics", std::move(metrics));
    root.add("load", optional(summary.load));
    root.add("load_cv", optional(summary.load_cv));
    root.add("flops_saved", optional(summary.flops_saved));
    root.add("fact_auroc", summary.fact_auroc ? Json(summary.fact_auroc->value) : Json());
    root.add("fact_auroc_interval", summary.fact_auroc ? estimate_json(*summary.fact_auroc) : Json());
    root.add("keys", optional(summary.keys));
    root.add("trainable", summary.trainable);
    root.add("truncated", summary.truncated);
    root.add("first", std::move(first));
    root.add("seconds", summary.seconds);
    return root;
}

inline Json item_json(const ChoiceResult& item) {
    Json line = Json::object();
    line.add("id", item.id);
    line.add("domain", item.domain);
    line.add("level", item.level);
    line.add("answer", item.answer);
    line.add("chosen", item.chosen);
    line.add("chosen_norm", item.chosen_norm);
    line.add("correct", item.correct());
    line.add("loglikelihood", Json(Json::Array(item.log_likelihood.begin(), item.log_likelihood.end())));
    line.add("nll", item.nll());
    line.add("question", item.question);
    line.add("choices", Json(Json::Array(item.choices.begin(), item.choices.end())));
    return line;
}

/// A written answer as a question with one right choice: chosen 0 is right, -1 anything else.
inline Json item_json(const AnswerResult& item) {
    Json line = Json::object();
    line.add("id", item.id);
    line.add("domain", item.domain);
    line.add("level", item.level);
    line.add("answer", 0);
    line.add("chosen", item.score == 1 ? 0 : -1);
    line.add("correct", item.score == 1);
    line.add("loglikelihood", Json(Json::Array()));
    line.add("f1", item.f1);
    line.add("expected", item.expected);
    line.add("prediction", item.prediction);
    line.add("text", item.text);
    line.add("question", item.question);
    return line;
}

inline Json item_json(const TextResult& item) {
    Json line = Json::object();
    line.add("id", item.id);
    line.add("domain", item.domain);
    line.add("level", item.level);
    line.add("nll", item.nll);
    line.add("tokens", item.tokens);
    line.add("bytes", item.bytes);
    return line;
}

/// results.json, `lines` (items.jsonl or texts.jsonl) and tokens.json in `folder`, which is made.
inline void write_evaluation(const std::string& folder, const TaskSummary& summary, const char* lines_name,
                             const std::vector<Json>& items, const TokenRouting& routing) {
    std::filesystem::create_directories(folder);
    std::string lines;
    for (const Json& item : items) lines += write_json(item) + "\n";
    write_file_atomically(folder + "/" + lines_name, lines);
    if (!routing.empty()) write_file_atomically(folder + "/tokens.json", write_json(routing.json()) + "\n");
    write_file_atomically(folder + "/results.json", write_json(summary_json(summary), JsonStyle::indented));
}

inline void write_evaluation(const std::string& folder, const TaskSummary& summary,
                             const ChoiceEvaluation& evaluation) {
    std::vector<Json> items;
    for (const ChoiceResult& item : evaluation.items) items.push_back(item_json(item));
    write_evaluation(folder, summary, "items.jsonl", items, evaluation.routing);
}
inline void write_evaluation(const std::string& folder, const TaskSummary& summary,
                             const TextEvaluation& evaluation) {
    std::vector<Json> items;
    for (const TextResult& item : evaluation.items) items.push_back(item_json(item));
    write_evaluation(folder, summary, "texts.jsonl", items, evaluation.routing);
}
inline void write_evaluation(const std::string& folder, const TaskSummary& summary,
                             const AnswerEvaluation& evaluation) {
    std::vector<Json> items;
    for (const AnswerResult& item : evaluation.items) items.push_back(item_json(item));
    write_evaluation(folder, summary, "items.jsonl", items, TokenRouting());
}

/// Accuracy per domain and level, where there are several: "people/2" and so on.
inline std::vector<Metric> accuracy_by_group(const std::vector<ChoiceResult>& items) {
    std::map<std::string, std::pair<Index, Index>> groups;
    for (const ChoiceResult& item : items) {
        auto& [right, all] = groups[item.domain.empty() ? format("level {}", item.level)
                                                        : format("{}/{}", item.domain, item.level)];
        right += item.correct();
        ++all;
    }
    std::vector<Metric> metrics;
    if (groups.size() < 2) return metrics;
    for (const auto& [name, count] : groups) metrics.push_back({name, proportion(count.first, count.second)});
    return metrics;
}

/// The lines of a table: "acc        0.2512  [0.2341, 0.2690]  n 2376".
inline std::string metric_line(const Metric& metric) {
    const Estimate& e = metric.estimate;
    return format("  {:<18} {:8.4f}  [{:.4f}, {:.4f}]  n {}", metric.name, e.value, e.low, e.high, e.n);
}

}  // namespace moegrad
