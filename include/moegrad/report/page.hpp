#pragma once
// Page: what the sections of a report add to: HTML, the CSV files beside it, the data that the script reads.

#include <moegrad/report/svg.hpp>

#include <moegrad/io/json_writer.hpp>
#include <moegrad/report/csv.hpp>

namespace moegrad::report {

struct Page {
    std::string csv_folder;  // relative to the page
    std::string body;
    std::vector<std::pair<std::string, std::string>> contents;  // id, title
    std::vector<CsvFile> files;
    Json data = Json::object();

    void add(const std::string& id, const std::string& title, const std::string& html) {
        contents.emplace_back(id, title);
        body += section(id, title, html);
    }
    /// Keeps a CSV file and returns the link to it.
    std::string file(const std::string& name, const Csv& csv) {
        files.push_back({name, csv.text()});
        return csv_folder + "/" + name;
    }
};

/// Numbers for the script: five significant digits, null for nothing.
inline Json json_numbers(const std::vector<double>& values) {
    Json::Array all;
    for (double value : values) all.push_back(std::isnan(value) ? Json() : Json(rounded(value)));
    return Json(std::move(all));
}

/// "a, b and c".
inline std::string listed(const std::vector<std::string>& words) {
    std::string out;
    for (std::size_t i = 0; i < words.size(); ++i)
        out += (i == 0 ? "" : i + 1 == words.size() ? " and " : ", ") + words[i];
    return out;
}

/// Buttons that show and hide an arm in every chart.
inline std::string arm_legend(const ReportData& data) {
    if (data.arms.size() < 2) return "";
    std::string out = "<div class=\"legend\" role=\"group\" aria-label=\"arms shown in the charts\">";
    for (std::size_t i = 0; i < data.arms.size(); ++i) {
        out += moegrad::format(
            "<button type=\"button\" aria-pressed=\"true\" data-arm=\"{}\"><span class=\"swatch "
            "{}\"></span>{}</button>",
            i, arm_class(data, i), escape(data.arms[i].name));
    }
    return out + "</div>\n";
}

/// The part of every figure's note that says what it was made from: "model · adapter · split".
inline std::string about(const ReportData& data, const std::string& adapter, const std::string& split) {
    std::string out;
    for (const std::string& part : {data.model, adapter, split}) {
        if (!part.empty()) out += (out.empty() ? "" : " \xC2\xB7 ") + part;
    }
    return out + ".";
}

inline std::string adapters(const ReportData& data) {
    if (data.arms.size() != 1) return moegrad::format("{} arms", data.arms.size());
    return data.arms[0].method.empty() ? data.arms[0].name : data.arms[0].method;
}

inline double trained_tokens(const RunFolder& run) {
    double sum = 0;
    for (const MetricsLine& line : run.steps) {
        const double tokens = line.value("tokens");
        if (!std::isnan(tokens)) sum += tokens;
    }
    return sum;
}

/// "training batches: 300 steps, 230 400 tokens per run, 4 routers, padding not counted".
inline std::string training_split(const ReportData& data) {
    double tokens = 0;
    for (const Arm& arm : data.arms)
        for (const RunFolder& run : arm.runs) tokens = std::max(tokens, trained_tokens(run));
    std::size_t routers = 0;
    for (const Arm& arm : data.arms)
        for (const RunFolder& run : arm.runs)
            if (!run.steps.empty()) routers = std::max(routers, run.steps.front().routers.size());
    std::string out = "training batches: " + grouped(steps_of(data)) + " steps";
    if (tokens > 0) out += ", " + grouped(static_cast<std::int64_t>(tokens)) + " tokens per run";
    if (routers > 0) out += moegrad::format(", {} routers", routers);
    return out + ", padding not counted";
}

inline std::string question_split(const ReportData& data) {
    const std::string count = data.questions > 0 ? grouped(data.questions) + " " : std::string();
    return count + "held-out questions" +
           (data.task.empty() || data.task == "questions" ? "" : " of " + data.task);
}

}  // namespace moegrad::report
