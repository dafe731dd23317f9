#pragma once
// Training over time: every arm in one chart per quantity. metrics.csv and routers.csv hold every step.

#include <moegrad/report/page.hpp>

#include <map>

namespace moegrad::report {

/// One chart of arms; its numbers go to page.data under `id`. Empty when no arm has the quantity.
template <class Value>
std::string arm_chart(Page& page, const ReportData& data, const std::string& id, Figure figure,
                      const std::string& axis, bool from_zero, const Value& value) {
    const CurveSet set = arm_curves(data, value);
    if (set.empty()) return "";
    std::vector<std::string> classes;
    Json series{Json::Array{}};
    Json::Array all;
    for (std::size_t i = 0; i < data.arms.size(); ++i) {
        classes.push_back(arm_class(data, i));
        Json one = Json::object();
        one.add("name", data.arms[i].name);
        one.add("kind", classes.back());
        one.add("y", json_numbers(set.curves[i].y));
        all.push_back(std::move(one));
    }
    Json chart = Json::object();
    chart.add("x", json_numbers(set.x));
    chart.add("arms", true);
    chart.add("series", Json(std::move(all)));
    page.data.add(id, std::move(chart));
    figure.kind = "panel";
    if (set.per_point > 1) figure.note += moegrad::format(" A point is the mean of {} steps.", set.per_point);
    return figure.html(lines_svg(set, classes, id, axis, from_zero));
}

namespace detail {

/// Names of every number in metrics.jsonl that has no chart of its own: penalties, raw and weighted, and traces.
inline std::vector<std::string> other_values(const ReportData& data) {
    std::vector<std::string> names;
    for (const Arm& arm : data.arms) {
        for (const RunFolder& run : arm.runs) {
            if (run.steps.empty()) continue;
            for (const auto& [name, value] : run.steps.front().values) {
                const bool own = name == "ce" || name == "grad_norm" || name == "tokens" ||
                                 name == "supervised" || name == "lr";
                if (!own && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
            }
        }
    }
    return names;
}

inline bool is_weighted(const std::string& name) {
    return name.starts_with("weighted ");
}

/// Whether a number is anything but 0 in some step: a chart of zeros tells nothing.
inline bool any_of_value(const ReportData& data, const std::string& name) {
    for (const Arm& arm : data.arms)
        for (const RunFolder& run : arm.runs)
            for (const MetricsLine& line : run.steps)
                if (const double value = line.value(name); value != 0 && !std::isnan(value)) return true;
    return false;
}

/// Whether any token ever went without a true expert: a chart of zeros tells nothing.
inline bool any_all_null(const ReportData& data) {
    for (const Arm& arm : data.arms)
        for (const RunFolder& run : arm.runs)
            for (const MetricsLine& line : run.steps)
                for (const RouterLine& router : line.routers)
                    if (router.all_null > 0) return true;
    return false;
}

template <class Use>
void each_run(const ReportData& data, const Use& use) {
    for (const Arm& arm : data.arms)
        for (std::size_t i = 0; i < arm.runs.size(); ++i)
            use(arm, i < arm.seeds.size() ? arm.seeds[i] : 0, arm.runs[i]);
}

inline Csv metrics_csv(const ReportData& data) {
    std::vector<std::string> names{"ce", "lr", "grad_norm", "tokens", "supervised"};
    for (const std::string& name : other_values(data)) names.push_back(name);
    std::vector<std::string> header{"arm", "seed", "step"};
    header.insert(header.end(), names.begin(), names.end());
    header.push_back("load");
    Csv csv(header);
    each_run(data, [&](const Arm& arm, std::int64_t seed, const RunFolder& run) {
        for (const MetricsLine& line : run.steps) {
            csv.add(arm.name).add(seed).add(line.step);
            for (const std::string& name : names) csv.add(line.value(name));
            csv.add(router_mean(line, [](const RouterLine& router) { return router.load; })).end();
        }
    });
    return csv;
}

inline Csv evaluations_csv(const ReportData& data) {
    Csv csv({"arm", "seed", "step", "eval_nll", "eval_load"});
    each_run(data, [&](const Arm& arm, std::int64_t seed, const RunFolder& run) {
        for (const MetricsLine& line : run.evaluations) {
            csv.add(arm.name)
                .add(seed)
                .add(line.step)
                .add(line.value("eval_nll"))
                .add(line.value("eval_load"));
            csv.end();
        }
    });
    return csv;
}

/// Held-out NLL before and after, per arm: the mean over seeds of the first and last evaluation.
inline std::string evaluations_table(const ReportData& data) {
    Table table("Held-out NLL, nats per token, before and after training");
    table.column("arm");
    for (const char* name : {"before", "after", "change"}) table.column(name, "num");
    for (std::size_t i = 0; i < data.arms.size(); ++i) {
        double before = 0, after = 0, count = 0;
        for (const RunFolder& run : data.arms[i].runs) {
            if (run.evaluations.size() < 2) continue;
            before += run.evaluations.front().value("eval_nll");
            after += run.evaluations.back().value("eval_nll");
            count += 1;
        }
        if (count == 0 || std::isnan(before) || std::isnan(after)) continue;
        table.row(
            {{"<span class=\"swatch " + arm_class(data, i) + "\"></span>" + escape(data.arms[i].name), "arm"},
             number_cell(fixed(before / count, 3)),
             number_cell(fixed(after / count, 3)),
             number_cell(fixed((after - before) / count, 3))});
    }
    return table.empty() ? "" : table.html();
}

}  // namespace detail

namespace detail {

/// One number of metrics.jsonl.
inline std::string value_chart(Page& page, const ReportData& data, const std::string& name,
                               const Figure& figure, const std::string& axis) {
    return arm_chart(page, data, "value " + name, figure, axis, false,
                     [&name](const MetricsLine& line) { return line.value(name); });
}

}  // namespace detail

inline std::string loss_chart(Page& page, const ReportData& data, const std::string& note,
                              const std::string& link) {
    const bool seeds =
        std::any_of(data.arms.begin(), data.arms.end(), [](const Arm& arm) { return arm.runs.size() > 1; });
    const std::string spread = seeds ? " Line: mean over seeds; band: lowest to highest seed." : "";
    return detail::value_chart(page, data, "ce",
                               {"Loss", "Cross entropy of the supervised tokens." + spread, note, link},
                               "nats per token");
}

/// Gradient norm, penalties, traces, learning rate.
inline std::string value_charts(Page& page, const ReportData& data, const std::string& note,
                                const std::string& link) {
    std::string charts = detail::value_chart(
        page, data, "grad_norm",
        {"Gradient norm", "Over all trained parameters, before clipping.", note, link}, "norm");
    for (const std::string& name : detail::other_values(data)) {
        const bool penalty = name == "balance" || name == "z", weighted = detail::is_weighted(name);
        if (weighted && !detail::any_of_value(data, name)) continue;
        const char* says = weighted
                               ? "Times its coefficient: what the objective has beside the cross entropy."
                           : penalty ? "Summed over layers, before its coefficient."
                                     : "As logged, before any coefficient.";
        charts += detail::value_chart(page, data, name,
                                      {name == "balance" ? "Balance loss"
                                       : name == "z"     ? "Router z-loss"
                                                         : name,
                                       says, note, link},
                                      weighted ? "nats per token" : "raw value");
    }
    return charts + detail::value_chart(page, data, "lr", {"Learning rate", "", note, link}, "rate");
}

/// Charts of means over the routers of a step.
inline std::string router_charts(Page& page, const ReportData& data, const std::string& note,
                                 const std::string& link) {
    const auto chart = [&](double RouterLine::*member, const std::string& title, const std::string& says,
                           const std::string& axis, bool from_zero) {
        return arm_chart(page, data, "mean " + title, {title, says, note, link}, axis, from_zero,
                         [member](const MetricsLine& line) {
                             return router_mean(
                                 line, [member](const RouterLine& router) { return router.*member; });
                         });
    };
    std::string charts = chart(&RouterLine::load, "Load", "True experts per token, mean over the routers.",
                               "experts per token", true);
    charts +=
        chart(&RouterLine::entropy, "Router entropy",
              "Mean over tokens and routers of \xE2\x88\x92\xCE\xA3 p log p, nulls included.", "nats", false);
    if (detail::any_all_null(data))
        charts += chart(&RouterLine::all_null, "Tokens without any true expert",
                        "All slots went to nulls; mean over the routers.", "share of tokens", true);
    return charts;
}

inline void add_training_section(Page& page, const ReportData& data) {
    if (steps_of(data) == 0) {
        page.add("training", "Training", absent("No metrics.jsonl in the run folders: no curves."));
        return;
    }
    const std::string note = about(data, adapters(data), training_split(data));
    const std::string link = page.file("metrics.csv", detail::metrics_csv(data));
    std::string html = arm_legend(data) + "<div class=\"grid-charts\">" + loss_chart(page, data, note, link) +
                       router_charts(page, data, note, link) + value_charts(page, data, note, link) +
                       "</div>\n";
    const std::string table = detail::evaluations_table(data);
    if (!table.empty()) {
        html += "<h3>Held-out text</h3>\n" + table + "<p class=\"note\"><a href=\"" +
                escape(page.file("evaluations.csv", detail::evaluations_csv(data))) + "\">CSV</a></p>\n";
    }
    page.add("training", "Training", html);
}

}  // namespace moegrad::report
