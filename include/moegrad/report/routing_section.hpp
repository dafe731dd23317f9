#pragma once
// Where the tokens went, one panel per arm: load of layer x expert before and after, experts per token, entropy per
// layer, dead experts. Numbers are of the arm's first run.

#include <moegrad/report/heat.hpp>
#include <moegrad/report/routing_files.hpp>

namespace moegrad::report {

/// Tabs that choose one arm within a section, or with `beside` all of them next to each other; without script every panel is shown.
inline std::string arm_tabs(const ReportData& data, const std::string& group, bool beside = false) {
    if (data.arms.size() < 2) return "";
    std::string out = "<div class=\"tabs\" role=\"tablist\" aria-label=\"arm\" data-tabs=\"" + group + "\">";
    for (std::size_t i = 0; i < data.arms.size(); ++i) {
        out += moegrad::format(
            "<button type=\"button\" role=\"tab\" aria-selected=\"{}\" data-arm=\"{}\"><span "
            "class=\"swatch {}\"></span>{}</button>",
            i == 0 ? "true" : "false", i, arm_class(data, i), escape(data.arms[i].name));
    }
    if (beside)
        out +=
            "<button type=\"button\" role=\"tab\" aria-selected=\"false\" data-arm=\"all\">side by "
            "side</button>";
    return out + "</div>\n";
}

/// Cells of one map beyond which only the load after training is drawn.
inline constexpr std::size_t kMostCells = 4096;

namespace detail {

enum class HeatKind { before, after, difference };

inline HeatColumns heat_columns(const RunUse& use) {
    HeatColumns columns{{}, use.experts < use.columns ? use.experts : 0};
    for (std::size_t c = 0; c < use.columns; ++c)
        columns.names.push_back(c < use.experts ? moegrad::format("{}", c)
                                                : moegrad::format("n{}", c - use.experts));
    return columns;
}

inline HeatCell heat_cell(const RunUse& use, const RouterUse& router, std::size_t c, HeatKind kind,
                          double most) {
    const auto at = [c](const std::vector<double>& values) { return c < values.size() ? values[c] : 0.0; };
    const double before = at(router.before), after = at(router.after);
    const double value = kind == HeatKind::before ? before : kind == HeatKind::after ? after : after - before;
    const bool dead = kind == HeatKind::after && c < use.experts && after < kDeadShare;
    const std::string what =
        c < use.experts ? moegrad::format("expert {}", c) : moegrad::format("null {}", c - use.experts);
    HeatCell cell;
    cell.dead = dead;
    cell.kind = kind == HeatKind::difference
                    ? moegrad::format("d{}", level_of(0.5 + 0.5 * value / most))
                    : moegrad::format("s{}{}", level_of(value / most), dead ? " dead" : "");
    cell.text = dead ? "\xC3\x97" : fixed(100 * value, 0);
    cell.tip = router.label + ", " + what + ": " + fixed(100 * before, 1) +
               " % of tokens at the first step, " + fixed(100 * after, 1) + " % at the end" +
               (dead ? " (dead)" : "");
    return cell;
}

inline double largest(const RunUse& use, HeatKind kind) {
    double most = 0;
    for (const RouterUse& router : use.routers) {
        for (std::size_t c = 0; c < use.columns; ++c) {
            const double before = c < router.before.size() ? router.before[c] : 0;
            const double after = c < router.after.size() ? router.after[c] : 0;
            most = std::max(
                most, kind == HeatKind::difference ? std::abs(after - before) : std::max(before, after));
        }
    }
    return most > 0 ? most : 1;
}

inline std::string heat_map(const RunUse& use, HeatKind kind, Figure figure) {
    const double most = largest(use, kind);
    std::vector<std::string> rows;
    std::vector<std::vector<HeatCell>> cells;
    for (const RouterUse& router : use.routers) {
        rows.push_back(router.label);
        cells.emplace_back();
        for (std::size_t c = 0; c < use.columns; ++c)
            cells.back().push_back(heat_cell(use, router, c, kind, most));
    }
    const bool difference = kind == HeatKind::difference;
    const std::string top = fixed(100 * most, 0) + " %";
    figure.kind = "panel";
    return figure.html(heat_svg(rows, heat_columns(use), cells, figure.title) +
                       scale_key(difference ? 'd' : 's', difference ? "\xE2\x88\x92" + top : "0 %",
                                 (difference ? "+" : "") + top + " of tokens"));
}

/// Stacked bars: per router the share of tokens with 0, 1, .. K true experts.
inline std::string experts_per_token_bars(const RunUse& use) {
    std::string out = "<div class=\"stacks\">";
    std::size_t most = 1;
    const std::size_t shown = std::min<std::size_t>(use.routers.size(), 40);
    for (std::size_t i = 0; i < shown; ++i) {
        const RouterUse& router = use.routers[i];
        if (router.experts_per_token.empty()) continue;
        out += "<div class=\"stack\"><span class=\"name\">" + escape(router.label) +
               "</span><svg class=\"bar\">";
        double left = 0;
        most = std::max(most, router.experts_per_token.size() - 1);
        for (std::size_t n = 0; n < router.experts_per_token.size(); ++n) {
            const double share = router.experts_per_token[n];
            if (share <= 0) continue;
            const int level =
                level_of(static_cast<double>(n) / static_cast<double>(router.experts_per_token.size() - 1));
            out += moegrad::format(
                "<g class=\"cell s{}\" data-tip=\"{}: {} % of tokens used {} true expert{}\"><rect "
                "x=\"{}\" width=\"{}\" y=\"0\" height=\"100%\"/>",
                level, escape(router.label), fixed(100 * share, 1), n, n == 1 ? "" : "s", percent(left),
                percent(share));
            if (share > 0.08)
                out += moegrad::format("<text x=\"{}\" y=\"50%\" dy=\".35em\">{}</text>",
                                       percent(left + share / 2), n);
            out += "</g>";
            left += share;
        }
        out += "</svg><span class=\"after\">" + fixed(router.load, 2) + "</span></div>\n";
    }
    if (shown < use.routers.size())
        out += moegrad::format("<small>and {} routers more, in the CSV</small>", use.routers.size() - shown);
    return out + "</div>\n";
}

/// "layer 0: 1 %, layer 1: 2 %", at most eight of them.
inline std::string first_of(const std::vector<std::string>& parts, const char* between) {
    std::string out;
    for (std::size_t i = 0; i < std::min<std::size_t>(parts.size(), 8); ++i)
        out += (i ? between : "") + parts[i];
    return parts.size() > 8 ? out + moegrad::format("{}and {} routers more", between, parts.size() - 8) : out;
}

inline std::string dead_line(const RunUse& use) {
    std::vector<std::string> parts;
    std::size_t all = 0;
    for (std::size_t i = 0; i < use.routers.size(); ++i) {
        std::string list;
        for (std::size_t e : use.dead(i)) {
            list += (list.empty() ? "" : ", ") + moegrad::format("{}", e);
            ++all;
        }
        if (!list.empty()) parts.push_back(use.routers[i].label + ": " + list);
    }
    if (parts.empty())
        return "<p class=\"verdict\">No dead experts: each was chosen by at least 1 token in 1000.</p>\n";
    return moegrad::format(
        "<p class=\"verdict warn\"><b>Dead experts</b>, chosen by fewer than 1 token in 1000: {} of "
        "{}. {}.</p>\n",
        all, use.experts * use.routers.size(), escape(first_of(parts, "; ")));
}

inline std::string all_null_line(const RunUse& use) {
    if (use.experts == use.columns) return "";
    double sum = 0;
    std::vector<std::string> parts;
    for (const RouterUse& router : use.routers) {
        sum += router.all_null;
        parts.push_back(router.label + ": " + fixed(100 * router.all_null, 1) + " %");
    }
    return "<p class=\"verdict\">Tokens whose slots all went to nulls: " +
           fixed(100 * sum / static_cast<double>(use.routers.size()), 1) + " % (" +
           escape(first_of(parts, ", ")) + ").</p>\n";
}

}  // namespace detail

/// A quantity of every router of an arm over time, shallow to deep in the colours of the scale.
inline std::string layer_chart(Page& page, const Arm& arm, const std::string& id, double RouterLine::*member,
                               const std::string& axis, Figure figure) {
    const CurveSet set = router_curves(arm, [member](const RouterLine& router) { return router.*member; });
    if (set.empty()) return "";
    const RunFolder* run = arm.first([](const RunFolder& r) { return !r.steps.empty(); });
    std::vector<std::string> classes;
    Json::Array all;
    for (std::size_t i = 0; i < set.curves.size(); ++i) {
        const double depth =
            set.curves.size() > 1 ? static_cast<double>(i) / static_cast<double>(set.curves.size() - 1) : 1;
        classes.push_back(moegrad::format("depth l{}", level_of(0.3 + 0.7 * depth)));
        Json one = Json::object();
        one.add("name", router_label(run->steps.front().routers[i].name));
        one.add("kind", classes.back());
        one.add("y", json_numbers(set.curves[i].y));
        all.push_back(std::move(one));
    }
    Json chart = Json::object();
    chart.add("x", json_numbers(set.x));
    chart.add("series", Json(std::move(all)));
    page.data.add(id, std::move(chart));
    figure.kind = "panel";
    return figure.html(lines_svg(set, classes, id, axis, false) +
                       scale_key('s', "first layer", "last layer"));
}

/// The three load maps and the experts per token of one run.
inline std::string load_figures(const ReportData& data, const std::string& who, const RunUse& use,
                                const RoutingFiles& files) {
    const auto split = [&](double tokens, const std::string& when) {
        return about(data, who, when + ", " + grouped(std::llround(tokens)) + " tokens") +
               moegrad::format(" {} routers.", use.routers.size());
    };
    const std::string end =
        split(use.tokens_after, use.steps_after == 1
                                    ? std::string("training batch of the last step")
                                    : moegrad::format("training batches, last {} steps", use.steps_after));
    const bool huge = use.routers.size() * use.columns > kMostCells;  // the CSV holds what is left out
    const Figure before{"Load before", "Tokens that chose an expert, %, first step, before any update.",
                        split(use.tokens_before, "training batch of step 0"), files.load};
    const Figure after{"Load after",
                       "Tokens that chose an expert, %, last tenth of the steps. \xC3\x97: dead.", end,
                       files.load};
    const Figure difference{"Difference", "After minus before, percentage points.", end, files.load};
    const Figure counts{"Experts per token",
                        "Share of tokens that used 0, 1, 2 .. true experts; at the right the mean.", end,
                        files.experts_per_token, "panel"};
    return (huge ? "" : detail::heat_map(use, detail::HeatKind::before, before)) +
           detail::heat_map(use, detail::HeatKind::after, after) +
           (huge ? "" : detail::heat_map(use, detail::HeatKind::difference, difference)) +
           counts.html(detail::experts_per_token_bars(use));
}

inline std::string routing_panel(Page& page, const ReportData& data, std::size_t i,
                                 const RoutingFiles& files) {
    const Arm& arm = data.arms[i];
    const RunFolder* run = arm.first([](const RunFolder& r) { return !r.steps.empty(); });
    const RunUse use = run ? run_use(*run) : RunUse{};
    std::string html = moegrad::format(
        "<div class=\"tabpanel\" role=\"tabpanel\" data-group=\"routing\" data-arm=\"{}\"><h3 "
        "class=\"armname\">{}</h3>\n",
        i, escape(arm.name));
    if (use.routers.empty()) return html + absent("No routers in metrics.jsonl.") + "</div>\n";
    html += detail::dead_line(use) + detail::all_null_line(use) + "<div class=\"grid-heat\">";
    html += load_figures(data, arm.name + ", " + run->name, use, files);
    const std::string note = about(data, arm.name, training_split(data));
    const std::string even = moegrad::format("Evenly over {} columns would be {} nats.", use.columns,
                                             fixed(std::log(static_cast<double>(use.columns)), 2));
    html += layer_chart(page, arm, moegrad::format("load {}", i), &RouterLine::load, "experts per token",
                        {"Load per layer", "True experts per token over training.", note, files.routers});
    html += layer_chart(page, arm, moegrad::format("entropy {}", i), &RouterLine::entropy, "nats",
                        {"Entropy per layer", even, note, files.routers});
    return html + "</div></div>\n";
}

inline void add_routing_section(Page& page, const ReportData& data) {
    bool any = false;
    for (const Arm& arm : data.arms)
        for (const RunFolder& run : arm.runs)
            any = any || (!run.steps.empty() && !run.steps.front().routers.empty());
    if (!any) {
        page.add("routing", "Routing", absent("No routers in metrics.jsonl: no load, no entropy."));
        return;
    }
    const RoutingFiles files = add_routing_files(page, data);
    std::string html = arm_tabs(data, "routing", true) + "<div class=\"panels\" data-group=\"routing\">\n";
    for (std::size_t i = 0; i < data.arms.size(); ++i) html += routing_panel(page, data, i, files);
    page.add("routing", "Routing", html + "</div>\n");
}

}  // namespace moegrad::report
