#pragma once
// Accuracy against compute, with the Pareto front.

#include <moegrad/report/page.hpp>

namespace moegrad::report {

namespace detail {

/// Where an arm stands on the axis of compute: FLOPs per token against the base's routing, or load.
inline double compute_of(const Measures& measures, bool flops) {
    const auto found = measures.find(flops ? "flops_saved" : "load");
    if (found == measures.end()) return kNothing;
    return flops ? 100 * (1 - found->second.value) : found->second.value;
}

inline void widen(double& low, double& high, double value) {
    if (std::isnan(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
}

struct ScatterAxes {
    Axis x, y;
};

/// Pixels that an arm's mark is moved sideways and its name moved down, so that neighbours stay legible.
struct Nudge {
    int mark = 0, name = 0;
};

inline ScatterAxes scatter_axes(const ReportData& data, bool flops) {
    double x0 = kHuge, x1 = -kHuge, y0 = kHuge, y1 = -kHuge;
    for (const Arm& arm : data.arms) {
        widen(x0, x1, compute_of(arm.measures, flops));
        const Measure acc = arm.measure("acc");
        for (double value : {acc.value, acc.low, acc.high}) widen(y0, y1, 100 * value);
        for (const RunFolder& run : arm.runs) {
            if (!run.measures.count("acc")) continue;
            widen(x0, x1, compute_of(run.measures, flops));
            widen(y0, y1, 100 * run.measures.at("acc").value);
        }
    }
    const double room = std::max(0.08 * (x1 - x0), flops ? 2.0 : 0.05);
    return {{scale_of(x0 - room, x1 + room, 5, false),
             flops ? "FLOPs per token, % of the base's routing" : "true experts per token"},
            {scale_of(y0, y1, 5), "accuracy, %"}};
}

/// Marks at the same compute stand side by side; names that would touch are moved apart.
inline std::vector<Nudge> nudges(const ReportData& data, const ScatterAxes& axes, bool flops) {
    const std::size_t n = data.arms.size();
    std::vector<Nudge> all(n);
    std::vector<std::size_t> order;
    const auto x = [&](std::size_t i) {
        return axes.x.scale.share(compute_of(data.arms[i].measures, flops));
    };
    const auto y = [&](std::size_t i) {
        return 1 - axes.y.scale.share(100 * data.arms[i].measure("acc").value);
    };
    for (std::size_t i = 0; i < n; ++i) {
        if (std::isnan(x(i)) || std::isnan(y(i))) continue;
        int beside = 0;
        for (std::size_t j : order) beside += std::abs(x(i) - x(j)) < 0.02 ? 1 : 0;
        all[i].mark = beside == 0 ? 0 : (beside % 2 ? 1 : -1) * 11 * ((beside + 1) / 2);
        order.push_back(i);
    }
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return y(a) < y(b); });
    constexpr double height = 300, line = 17;  // pixels, about
    for (std::size_t k = 1; k < order.size(); ++k) {
        const std::size_t i = order[k];
        for (std::size_t before = 0; before < k; ++before) {
            const std::size_t j = order[before];
            const double gap = height * (y(i) - y(j)) + all[i].name - all[j].name;
            if (std::abs(x(i) - x(j)) < 0.4 && gap < line)
                all[i].name += static_cast<int>(std::lround(line - gap));
        }
    }
    return all;
}

inline std::string scatter_tip(const Arm& arm, double compute, bool flops) {
    const Measure acc = arm.measure("acc"), load = arm.measure("load");
    std::string tip = arm.name + ": accuracy " + fixed(100 * acc.value, 1) + " %";
    if (acc.has_interval()) tip += " (" + fixed(100 * acc.low, 1) + " to " + fixed(100 * acc.high, 1) + ")";
    if (load.known()) tip += ", load " + fixed(load.value, 2);
    return flops ? tip + ", " + fixed(compute, 1) + " % of the FLOPs" : tip;
}

inline std::string scatter_point(const ReportData& data, std::size_t i, const ScatterAxes& axes, bool flops,
                                 const Nudge& nudge) {
    const Arm& arm = data.arms[i];
    const Measure acc = arm.measure("acc");
    const double x = compute_of(arm.measures, flops);
    if (!acc.known() || std::isnan(x)) return "";
    const std::string px = percent(axes.x.scale.share(x)), kind = arm_class(data, i);
    const auto py = [&](double value) { return percent(1 - axes.y.scale.share(100 * value)); };
    std::string out =
        moegrad::format("<g data-arm=\"{}\" class=\"{}\" transform=\"translate({} 0)\" data-tip=\"{}\">", i,
                        kind, nudge.mark, escape(scatter_tip(arm, x, flops)));
    for (const RunFolder& run : arm.runs) {
        const double rx = compute_of(run.measures, flops);
        const auto one = run.measures.find("acc");
        if (arm.runs.size() < 2 || one == run.measures.end() || std::isnan(rx)) continue;
        out += moegrad::format("<circle class=\"seed {}\" cx=\"{}\" cy=\"{}\" r=\"2.5\"/>", kind,
                               percent(axes.x.scale.share(rx)), py(one->second.value));
    }
    if (acc.has_interval())
        out += moegrad::format("<line class=\"whisker {}\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>", kind,
                               px, px, py(acc.low), py(acc.high));
    const bool right = axes.x.scale.share(x) > 0.7;
    const int away = 12 + std::max(0, right ? nudge.mark : -nudge.mark);
    return out + moegrad::format(
                     "<circle class=\"dot {}\" cx=\"{}\" cy=\"{}\" r=\"6\"/><text class=\"mark\" x=\"{}\" "
                     "y=\"{}\" dx=\"{}\" dy=\"{}\" text-anchor=\"{}\">{}</text></g>",
                     kind, px, py(acc.value), px, py(acc.value), right ? -away : away, 5 + nudge.name,
                     right ? "end" : "start", escape(arm.name));
}

/// The arms that no other arm beats at the same compute or less, by rising compute: of equals the first.
inline std::vector<std::size_t> pareto_front(const ReportData& data, bool flops) {
    const auto compute = [&](std::size_t i) { return compute_of(data.arms[i].measures, flops); };
    const auto accuracy = [&](std::size_t i) { return data.arms[i].measure("acc").value; };
    std::vector<std::size_t> order, front;
    for (std::size_t i = 0; i < data.arms.size(); ++i)
        if (data.arms[i].measure("acc").known() && !std::isnan(compute(i))) order.push_back(i);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return compute(a) != compute(b) ? compute(a) < compute(b) : accuracy(a) > accuracy(b);
    });
    for (const std::size_t i : order)
        if (front.empty() || accuracy(i) > accuracy(front.back())) front.push_back(i);
    return front;
}

/// From arm to arm of the front; what lies below and to the right of it is beaten.
inline std::string front_lines(const ReportData& data, const ScatterAxes& axes, bool flops) {
    const auto x = [&](std::size_t i) {
        return percent(axes.x.scale.share(compute_of(data.arms[i].measures, flops)));
    };
    const auto y = [&](std::size_t i) {
        return percent(1 - axes.y.scale.share(100 * data.arms[i].measure("acc").value));
    };
    const auto front = pareto_front(data, flops);
    std::string out;
    for (std::size_t k = 1; k < front.size(); ++k) {
        out += moegrad::format("<line class=\"front\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
                               x(front[k - 1]), y(front[k - 1]), x(front[k]), y(front[k]));
    }
    return out;
}

inline std::string scatter(const ReportData& data) {
    const bool flops = std::all_of(data.arms.begin(), data.arms.end(), [](const Arm& arm) {
        return !arm.measure("acc").known() || arm.measure("flops_saved").known();
    });
    const ScatterAxes axes = scatter_axes(data, flops);
    const std::vector<Nudge> moved = nudges(data, axes, flops);
    std::string svg = axes_svg(axes.x, axes.y) + front_lines(data, axes, flops);
    for (std::size_t i = 0; i < data.arms.size(); ++i) svg += scatter_point(data, i, axes, flops, moved[i]);
    return chart_frame(axes.x, axes.y, "data-scatter=\"1\"", svg);
}

}  // namespace detail

inline Csv compute_csv(const ReportData& data) {
    Csv csv({"arm", "run", "acc", "low", "high", "load", "flops_saved"});
    const auto line = [&](const std::string& arm, const std::string& run, const Measures& measures) {
        const auto get = [&](const char* key) {
            const auto found = measures.find(key);
            return found == measures.end() ? Measure{} : found->second;
        };
        csv.add(arm).add(run).add(get("acc").value).add(get("acc").low).add(get("acc").high);
        csv.add(get("load").value).add(get("flops_saved").value).end();
    };
    for (const Arm& arm : data.arms) {
        line(arm.name, "", arm.measures);
        for (const RunFolder& run : arm.runs) line(arm.name, run.name, run.measures);
    }
    return csv;
}

/// Only where there is something to compare.
inline void add_compute_section(Page& page, const ReportData& data) {
    if (data.arms.size() < 2) return;  // the table says it all
    const bool plots = std::any_of(data.arms.begin(), data.arms.end(), [](const Arm& arm) {
        return arm.measure("acc").known() &&
               (arm.measure("load").known() || arm.measure("flops_saved").known());
    });
    if (!plots) {
        page.add("compute", "Accuracy against compute",
                 absent("No accuracy and load in eval/results.json: nothing to plot."));
        return;
    }
    const bool seeds =
        std::any_of(data.arms.begin(), data.arms.end(), [](const Arm& arm) { return arm.runs.size() > 1; });
    const std::string says =
        std::string(
            "Higher is better, further left is cheaper; the broken line joins the arms that no other beats "
            "at its compute or less "
            "(the Pareto front). Whiskers: 95 % intervals.") +
        (seeds ? " Small dots: single seeds." : "") +
        (std::any_of(data.arms.begin(), data.arms.end(), [](const Arm& arm) { return arm.control; })
             ? " Hollow: controls."
             : "");
    page.add("compute", "Accuracy against compute",
             Figure{"", says, about(data, adapters(data), question_split(data)),
                    page.file("accuracy_compute.csv", compute_csv(data)), "tall"}
                 .html(detail::scatter(data)));
}

}  // namespace moegrad::report
