#pragma once
// The top of the page: what was run, the statement, the assay, the table of arms, paired differences.

#include <moegrad/report/settings_section.hpp>

#include <set>

namespace moegrad::report {

/// A column of the table of arms.
struct MeasureColumn {
    const char* key;
    const char* title;
    int decimals;   // of the shown number
    double factor;  // 100 for shares shown in percent
};

inline constexpr MeasureColumn kMeasureColumns[] = {{"acc", "accuracy, %", 1, 100},
                                                    {"acc_norm", "accuracy per character, %", 1, 100},
                                                    {"nll", "NLL, nats", 3, 1},
                                                    {"load", "load, experts per token", 2, 1},
                                                    {"flops_saved", "FLOPs saved, %", 1, 100},
                                                    {"fact_auroc", "fact AUROC", 3, 1},
                                                    {"trainable", "trainable parameters", 0, 1},
                                                    {"tokens_per_second", "tokens/s \xE2\x80\xA0", 0, 1}};

inline bool any_arm_has(const ReportData& data, const std::string& key) {
    return std::any_of(data.arms.begin(), data.arms.end(),
                       [&](const Arm& arm) { return arm.measure(key).known(); });
}

namespace detail {

inline std::string measure_text(const Measure& measure, const MeasureColumn& column) {
    if (!measure.known()) return "<span class=\"none\">\xE2\x80\x93</span>";
    if (std::string_view(column.key) == "trainable") return grouped(std::llround(measure.value));
    if (std::string_view(column.key) == "tokens_per_second") return thousands(measure.value);
    std::string out = fixed(column.factor * measure.value, column.decimals);
    if (measure.has_interval()) {
        out += " <small>" + fixed(column.factor * measure.low, column.decimals) + "\xE2\x80\x93" +
               fixed(column.factor * measure.high, column.decimals) + "</small>";
    }
    return out;
}

/// The accuracy of every arm on one line scale, with round ends.
inline Scale accuracy_scale(const ReportData& data) {
    double low = 1, high = 0;
    for (const Arm& arm : data.arms) {
        const Measure acc = arm.measure("acc");
        if (!acc.known()) continue;
        low = std::min(low, acc.has_interval() ? acc.low : acc.value);
        high = std::max(high, acc.has_interval() ? acc.high : acc.value);
    }
    return scale_of(std::max(0.0, low - 0.01), std::min(1.0, high + 0.01), 4);
}

inline std::string accuracy_cell(const ReportData& data, std::size_t i, const Scale& scale) {
    const Measure acc = data.arms[i].measure("acc");
    if (!acc.known()) return "";
    return "<svg class=\"inline\" aria-hidden=\"true\">" +
           whisker_svg(scale.share(acc.value), scale.share(acc.low), scale.share(acc.high),
                       arm_class(data, i)) +
           "</svg>";
}

inline Csv arms_csv(const ReportData& data) {
    std::set<std::string> keys;
    for (const Arm& arm : data.arms)
        for (const auto& [key, measure] : arm.measures) keys.insert(key);
    Csv csv({"arm", "method", "control", "seeds", "metric", "value", "low", "high"});
    for (const Arm& arm : data.arms) {
        for (const std::string& key : keys) {
            const Measure measure = arm.measure(key);
            if (!measure.known()) continue;
            csv.add(arm.name).add(arm.method).add(arm.control ? "yes" : "no");
            csv.add(static_cast<std::int64_t>(arm.runs.size())).add(key);
            csv.add(measure.value).add(measure.low).add(measure.high).end();
        }
    }
    return csv;
}

inline std::string arms_table(const ReportData& data) {
    const bool one = data.arms.size() == 1;
    Table table(one ? "The run, with 95 % intervals" : "Arms, with 95 % intervals");
    const Scale scale = accuracy_scale(data);
    std::vector<MeasureColumn> columns;
    for (const MeasureColumn& column : kMeasureColumns)
        if (any_arm_has(data, column.key)) columns.push_back(column);
    table.column(data.comparison ? "arm" : "run");
    for (const MeasureColumn& column : columns) {
        if (std::string_view(column.key) == "acc") table.column("", "spark");
        table.column(escape(column.title), "num");
    }
    for (std::size_t i = 0; i < data.arms.size(); ++i) {
        const Arm& arm = data.arms[i];
        std::vector<Cell> row{{"<span class=\"swatch " + arm_class(data, i) + "\"></span>" +
                                   escape(arm.name) + (arm.control ? " <small>control</small>" : ""),
                               "arm"}};
        for (const MeasureColumn& column : columns) {
            if (std::string_view(column.key) == "acc")
                row.push_back({accuracy_cell(data, i, scale), "spark"});
            row.push_back(number_cell(measure_text(arm.measure(column.key), column)));
        }
        table.row(std::move(row));
    }
    return table.html();
}

/// A difference with its interval, bold when the interval leaves out zero.
inline std::string difference_text(const PairedDifference& pair) {
    const bool share = pair.metric.rfind("acc", 0) == 0;
    const double factor = share ? 100 : 1;
    const int decimals = share ? 1 : 3;
    const Measure& d = pair.difference;
    const bool differs = d.has_interval() && (d.low > 0 || d.high < 0);
    std::string out = (d.value > 0 ? "+" : "") + fixed(factor * d.value, decimals);
    if (differs) out = "<b>" + out + "</b>";
    if (!d.has_interval()) return out;
    return out + " <small>" + fixed(factor * d.low, decimals) + " to " + fixed(factor * d.high, decimals) +
           "</small>";
}

/// A row per pair of arms, a column per metric.
inline std::string pairs_table(const ReportData& data) {
    std::vector<std::string> metrics;
    std::vector<std::pair<std::string, std::string>> rows;
    for (const PairedDifference& pair : data.pairs) {
        const std::pair<std::string, std::string> row(pair.a, pair.b);
        if (std::find(metrics.begin(), metrics.end(), pair.metric) == metrics.end())
            metrics.push_back(pair.metric);
        if (std::find(rows.begin(), rows.end(), row) == rows.end()) rows.push_back(row);
    }
    Table table("a minus b, 95 % intervals; bold where the interval leaves out zero");
    table.column("a");
    table.column("b");
    for (const std::string& metric : metrics)
        table.column(metric == "acc"   ? "accuracy, points"
                     : metric == "nll" ? "NLL, nats"
                                       : escape(metric),
                     "num");
    table.column("which says", "says");
    for (const auto& row : rows) {
        std::vector<Cell> cells{text_cell(row.first), text_cell(row.second)};
        std::string says;
        for (const std::string& metric : metrics) {
            const auto found =
                std::find_if(data.pairs.begin(), data.pairs.end(), [&](const PairedDifference& pair) {
                    return pair.a == row.first && pair.b == row.second && pair.metric == metric;
                });
            cells.push_back(number_cell(found == data.pairs.end() ? "" : difference_text(*found)));
            if (found != data.pairs.end() && !found->says.empty())
                says += (says.empty() ? "" : "<br>") + escape(found->says);
        }
        cells.push_back({says, "says"});
        table.row(std::move(cells));
    }
    return table.html();
}

/// The sentences of the comparison's text; its aligned lines stay as printed, folded away: the tables hold them too.
inline std::string statement(const std::string& text) {
    std::string prose;
    bool aligned = false;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string line = text.substr(at, end - at);
        at = end + 1;
        const bool table = line.empty() || line.front() == ' ' || line.back() == ':';
        if (!table) prose += "<p>" + escape(line) + "</p>\n";
        aligned = aligned || (table && !line.empty());
    }
    std::string out = "<div class=\"statement\">\n" + prose;
    if (aligned)
        out += "<details><summary>As printed</summary><pre class=\"scroll\">" + escape(text) +
               "</pre></details>\n";
    return out + "</div>\n";
}

inline Csv pairs_csv(const ReportData& data) {
    Csv csv({"a", "b", "metric", "difference", "low", "high", "says"});
    for (const PairedDifference& pair : data.pairs) {
        csv.add(pair.a).add(pair.b).add(pair.metric).add(pair.difference.value).add(pair.difference.low);
        csv.add(pair.difference.high).add(pair.says).end();
    }
    return csv;
}

inline std::string assay_line(const Assay& assay) {
    const auto against = [&](double value) {
        return fixed(value, 3) + " (" + (value >= assay.top2 ? "+" : "") + fixed(value - assay.top2, 3) + ")";
    };
    std::string out = "<p class=\"assay\"><b>" +
                      std::string(assay.ok          ? "Assay passed."
                                  : assay.undecided ? "Assay undecided."
                                                    : "Assay failed.") +
                      "</b> The base model alone, " + escape(assay.unit) + ": its own top-2 " +
                      fixed(assay.top2, 3) + ", forced top-1 " + against(assay.top1) + ", random experts " +
                      against(assay.random) + ". ";
    out += assay.ok          ? "It depends on its routing, so differences between routers can show."
           : assay.undecided ? "Too few documents to say whether it depends on its routing: no ground yet "
                               "for statements about routers."
                             : "It hardly depends on its routing: no ground for statements about routers.";
    return out + "</p>\n";
}

}  // namespace detail

/// Model, data, questions, seeds, steps: one line under the title.
inline std::string facts_line(const ReportData& data) {
    std::vector<std::string> facts;
    if (!data.model.empty()) facts.push_back(data.model);
    const std::string train = data.arms.empty() ? "" : detail::shown_setting(data.arms[0], "data.train");
    if (!train.empty()) facts.push_back("trained on " + train);
    if (data.questions > 0) facts.push_back("asked " + question_split(data));
    if (steps_of(data) > 0) facts.push_back(grouped(steps_of(data)) + " steps");
    std::set<std::int64_t> seeds;
    for (const Arm& arm : data.arms) seeds.insert(arm.seeds.begin(), arm.seeds.end());
    std::string list;
    for (std::int64_t seed : seeds) list += (list.empty() ? "" : ", ") + moegrad::format("{}", seed);
    if (!seeds.empty()) facts.push_back((seeds.size() == 1 ? "seed " : "seeds ") + list);
    std::string out;
    for (const std::string& fact : facts) out += (out.empty() ? "" : " \xC2\xB7 ") + escape(fact);
    return "<p class=\"facts\">" + out + "</p>\n";
}

/// Run folders that a comparison names and that are not there.
inline std::string missing_runs(const ReportData& data) {
    std::vector<std::string> names;
    for (const Arm& arm : data.arms)
        for (const RunFolder& run : arm.runs)
            if (!run.found) names.push_back(run.name);
    return names.empty() ? "" : absent("Not there, or not yet: " + listed(names) + ".");
}

inline void add_result_section(Page& page, const ReportData& data) {
    std::string html = missing_runs(data) + (data.assay ? detail::assay_line(*data.assay) : "");
    const bool measured =
        std::any_of(data.arms.begin(), data.arms.end(), [](const Arm& arm) { return !arm.measures.empty(); });
    if (measured) {
        html += detail::arms_table(data);
        std::string note = about(data, adapters(data), question_split(data)) + " Intervals: 95 %.";
        if (!std::isnan(data.base_accuracy))
            note += " Before fine-tuning: accuracy " + fixed(100 * data.base_accuracy, 1) + " %.";
        if (any_arm_has(data, "tokens_per_second"))
            note +=
                " \xE2\x80\xA0 depends on the machine and varies from run to run; nothing else here does.";
        html += "<p class=\"note\">" + escape(note) + " <a href=\"" +
                escape(page.file("arms.csv", detail::arms_csv(data))) + "\">CSV</a></p>\n";
    } else {
        html += absent("Not evaluated yet: no eval/results.json. `moegrad eval` writes it.");
    }
    if (!data.text.empty()) html += detail::statement(data.text);
    if (!data.pairs.empty()) {
        html += "<h3>Differences</h3>\n" + detail::pairs_table(data);
        html += "<p class=\"note\">Same questions and seeds on both sides. <a href=\"" +
                escape(page.file("paired.csv", detail::pairs_csv(data))) + "\">CSV</a></p>\n";
    }
    page.add("result", "Result", html);
}

}  // namespace moegrad::report
