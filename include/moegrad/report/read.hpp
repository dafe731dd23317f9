#pragma once
// Reads run folders and compare folders for the report. What a run folder holds stands in run_folder.hpp; here
// is the shape of compare.json, which the compare verb writes into the folder that holds its run folders:
//
//   {"name": "demo",                                   what the page is called; optional
//    "task": "world",                                  name of the questions
//    "questions": 600,                                 optional
//    "model": "models/tiny-mixtral", "base_acc": 0.27, both optional; base_acc: before any fine-tuning
//    "assay": {"top2": 1.31, "top1": 1.42, "random": 1.95, "unit": "nats per token", "ok": true},
//    "arms": [{"name": "AdaMoE", "method": "adamoe", "control": false,
//              "runs": [{"seed": 0, "folder": "adamoe-0"}],          relative to compare.json
//              "metrics": {"acc": {"value": 0.71, "low": 0.67, "high": 0.75}, "nll": {..}, "load": {..},
//                          "flops_saved": {..}, "fact_auroc": {..}, "trainable": 12345, "tokens_per_second": 9100}}],
//    "paired": [{"a": "AdaMoE", "b": "top-2", "metric": "acc", "value": 0.01, "low": -0.02, "high": 0.04,
//                "says": "AdaMoE and top-2 do not differ"}],          a minus b
//    "text": "the statement under the table"}
//
// A metric is an object with value and optionally low and high, or a plain number. Unknown keys are left alone; an
// absent key leaves its place in the page empty.

#include <moegrad/report/eval_files.hpp>

namespace moegrad::report {

/// One line of the comparison: a method, run with one or more seeds.
struct Arm {
    std::string name, method;
    bool control = false;
    std::vector<RunFolder> runs;
    std::vector<std::int64_t> seeds;
    Measures measures;

    Measure measure(const std::string& key) const {
        const auto found = measures.find(key);
        return found == measures.end() ? Measure{} : found->second;
    }
    /// The first run that has what `has` asks for; null when none has.
    template <class Has>
    const RunFolder* first(const Has& has) const {
        for (const RunFolder& run : runs)
            if (has(run)) return &run;
        return nullptr;
    }
};

struct PairedDifference {
    std::string a, b, metric, says;
    Measure difference;  // a - b
};

/// What the base model loses when its routers are tampered with.
struct Assay {
    double top2 = kNothing, top1 = kNothing, random = kNothing;
    std::string unit;
    bool ok = false, undecided = false;
};

struct ReportData {
    std::string name, task, model, text;
    bool comparison = false;
    std::int64_t questions = 0;
    double base_accuracy = kNothing;
    std::vector<Arm> arms;
    std::vector<PairedDifference> pairs;
    std::optional<Assay> assay;
};

namespace detail {

/// Folders named in a file must lie inside its own folder.
inline std::string inner_folder(const JsonRef& json) {
    const std::filesystem::path path(json.string());
    bool inside = !path.empty() && !path.is_absolute();
    for (const auto& part : path) inside = inside && part != "..";
    if (!inside) json.fail("a folder inside that of compare.json");
    return path.string();
}

inline const RunFolder* run_with_tokens(const Arm& arm) {
    return arm.first([](const RunFolder& run) { return !run.tokens.texts.empty(); });
}

inline Arm read_arm(const JsonRef& json, const std::string& folder) {
    Arm arm;
    arm.name = json.at("name").string();
    arm.method = string_or(json, "method");
    if (const auto control = json.find_value("control")) arm.control = control->boolean();
    if (const auto runs = json.find_value("runs")) {
        for (std::size_t i = 0; i < runs->array().size(); ++i) {
            const JsonRef run = runs->item(i);
            arm.seeds.push_back(integer_or(run, "seed", 0));
            const RunFolder* shown = run_with_tokens(arm);  // the page has the texts of one seed
            const std::int64_t experts = shown ? shown->tokens.experts : 0;
            arm.runs.push_back(read_run_folder(folder + "/" + inner_folder(run.at("folder")), !shown));
            if (shown) arm.runs.back().tokens.experts = experts;
        }
    }
    if (const auto metrics = json.find_value("metrics")) {
        for (const JsonMember& metric : metrics->members()) {
            if (!metric.value.is_null()) arm.measures[metric.key] = read_measure(metrics->member(metric));
        }
    }
    return arm;
}

inline PairedDifference read_pair(const JsonRef& json) {
    return {json.at("a").string(), json.at("b").string(), json.at("metric").string(), string_or(json, "says"),
            read_measure(json)};
}

inline Assay read_assay(const JsonRef& json) {
    Assay assay{number_or_nothing(json, "top2"),
                number_or_nothing(json, "top1"),
                number_or_nothing(json, "random"),
                string_or(json, "unit", "nats per token"),
                false,
                false};
    if (const auto ok = json.find_value("ok")) assay.ok = ok->boolean();
    if (const auto undecided = json.find_value("undecided")) assay.undecided = undecided->boolean();
    return assay;
}

inline void read_compare(const std::string& folder, ReportData& data) {
    const std::string path = folder + "/compare.json";
    const Json json = parse_json_file(path);
    const JsonRef root(json, path, ErrorCode::format);
    data.comparison = true;
    data.name = string_or(root, "name", data.name);
    data.task = string_or(root, "task");
    data.model = string_or(root, "model");
    data.text = string_or(root, "text");
    data.questions = integer_or(root, "questions", 0);
    data.base_accuracy = number_or_nothing(root, "base_acc");
    if (const auto assay = root.find_value("assay")) data.assay = read_assay(*assay);
    const JsonRef arms = root.at("arms");
    for (std::size_t i = 0; i < arms.array().size(); ++i) data.arms.push_back(read_arm(arms.item(i), folder));
    if (const auto pairs = root.find_value("paired")) {
        for (std::size_t i = 0; i < pairs->array().size(); ++i)
            data.pairs.push_back(read_pair(pairs->item(i)));
    }
}

inline Arm arm_of(RunFolder run) {
    Arm arm;
    arm.name = run.name;
    arm.method = run.setting("adapter.method");
    arm.measures = run.measures;
    const std::string seed = run.setting("train.seed");
    arm.seeds = {seed.empty() ? 0 : std::strtoll(seed.c_str(), nullptr, 10)};
    arm.runs.push_back(std::move(run));
    return arm;
}

/// What the comparison does not say, from the first run that does.
inline void fill_in(ReportData& data) {
    for (const Arm& arm : data.arms) {
        for (const RunFolder& run : arm.runs) {
            if (data.task.empty()) data.task = run.task;
            if (data.model.empty()) data.model = run.setting("model.path");
            if (data.questions == 0) data.questions = run.questions;
        }
    }
    data.model = std::filesystem::path(data.model).lexically_normal().filename().string();
    data.task = std::filesystem::path(data.task).filename().string();
}

}  // namespace detail

/// One compare folder, or one run folder, or several run folders side by side.
inline ReportData read_report(const std::vector<std::string>& folders) {
    if (folders.empty()) throw Error{ErrorCode::config, "report", "at least one folder", "none"};
    ReportData data;
    for (const std::string& folder : folders) {
        const bool compare = file_exists(folder + "/compare.json");
        if (!compare && !is_run_folder(folder)) {
            throw Error{ErrorCode::file, folder,
                        "a run folder (metrics.jsonl, eval/) or one with compare.json",
                        file_exists(folder) ? "neither" : "no such folder",
                        "`moegrad train` and `moegrad compare` write them"};
        }
        if (compare && folders.size() > 1) {
            throw Error{ErrorCode::config, folder, "run folders when there are several", "a compare folder",
                        "report a comparison on its own"};
        }
        if (compare) {
            data.name = read_run_folder(folder).name;
            detail::read_compare(folder, data);
        } else {
            data.arms.push_back(detail::arm_of(read_run_folder(folder)));
        }
    }
    if (!data.comparison) data.name = data.arms.size() == 1 ? data.arms[0].name : "runs side by side";
    detail::fill_in(data);
    return data;
}

}  // namespace moegrad::report
