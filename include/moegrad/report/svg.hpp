#pragma once
// Drawings. Positions are percentages and the browser lays them out, so that a drawing fills any width while its text
// keeps its size. The plot is the whole svg element; labels stand outside it, in the padding of its frame (.chart).
// Colours are classes: a0..a7 for arms, s0..s10 for a sequential scale, d0..d10 for a diverging one.

#include <moegrad/report/curves.hpp>
#include <moegrad/report/html.hpp>
#include <moegrad/report/numbers.hpp>

namespace moegrad::report {

inline constexpr int kArmColours = 8;

/// The colour class of an arm, dashed for a control.
inline std::string arm_class(const ReportData& data, std::size_t arm) {
    return moegrad::format("a{}{}", arm % kArmColours, data.arms[arm].control ? " control" : "");
}

/// Percent with two decimals, of a share in 0..1.
inline std::string percent(double share) {
    std::string text = moegrad::format("{:.2f}", 100 * share);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
    return (text == "-0" ? "0" : text) + "%";
}

/// 0..10 for a share in 0..1.
inline int level_of(double share) {
    return std::clamp(static_cast<int>(std::lround(share * 10)), 0, 10);
}

struct Axis {
    Scale scale;
    std::string title;

    std::string label(double value) const { return fixed(value, scale.decimals); }
};

/// Lines of the grid and labels of both axes.
inline std::string axes_svg(const Axis& x, const Axis& y) {
    std::string out = "<g class=\"grid\">";
    for (double mark : y.scale.marks()) {
        const std::string at = percent(1 - y.scale.share(mark));
        out += moegrad::format(
            "<line x1=\"0\" x2=\"100%\" y1=\"{0}\" y2=\"{0}\"/><text x=\"-8\" y=\"{0}\" dy=\".35em\" "
            "class=\"y\">{1}</text>",
            at, y.label(mark));
    }
    for (double mark : x.scale.marks()) {
        out += moegrad::format("<text x=\"{}\" y=\"100%\" dy=\"1.5em\" class=\"x\">{}</text>",
                               percent(x.scale.share(mark)), x.label(mark));
    }
    return out + "</g>";
}

/// The frame of a chart: titles of the axes around `svg`.
inline std::string chart_frame(const Axis& x, const Axis& y, const std::string& attributes,
                               const std::string& svg) {
    return moegrad::format(
        "<div class=\"chart\" {}><p class=\"ytitle\">{}</p><svg class=\"plot\" role=\"img\" "
        "tabindex=\"0\" aria-label=\"{} against {}\">{}</svg><p class=\"xtitle\">{}</p></div>\n",
        attributes, escape(y.title), escape(y.title), escape(x.title), svg, escape(x.title));
}

namespace detail {

inline std::string point(const Scale& x, const Scale& y, double px, double py) {
    return moegrad::format("{:.1f} {:.1f}", 1000 * x.share(px), 1000 * (1 - y.share(py)));
}

inline std::string line_path(const CurveSet& set, const Curve& curve, const Scale& x, const Scale& y) {
    std::string d;
    bool open = false;
    for (std::size_t i = 0; i < set.x.size(); ++i) {
        if (std::isnan(curve.y[i])) {
            open = false;
            continue;
        }
        d += (open ? "L" : "M") + point(x, y, set.x[i], curve.y[i]);
        open = true;
    }
    return d;
}

inline std::string band_path(const CurveSet& set, const Curve& curve, const Scale& x, const Scale& y) {
    std::string up, down;
    for (std::size_t i = 0; i < set.x.size(); ++i) {
        if (std::isnan(curve.y[i])) continue;
        up += (up.empty() ? "M" : "L") + point(x, y, set.x[i], curve.high[i]);
        down = "L" + point(x, y, set.x[i], curve.low[i]) + down;
    }
    return up.empty() ? up : up + down + "Z";
}

}  // namespace detail

/// Lines over steps. classes[i]: colour of curve i. `id` names the data that the hover read-out looks up.
inline std::string lines_svg(const CurveSet& set, const std::vector<std::string>& classes,
                             const std::string& id, const std::string& title, bool from_zero) {
    double low = from_zero ? 0 : kHuge, high = -kHuge;
    for (const Curve& curve : set.curves) {
        for (std::size_t i = 0; i < curve.y.size(); ++i) {
            if (std::isnan(curve.y[i])) continue;
            low = std::min(low, curve.low[i]);
            high = std::max(high, curve.high[i]);
        }
    }
    const double last = set.x.back() > set.x.front() ? set.x.back() : set.x.front() + 1;
    const Axis x{scale_of(set.x.front(), last, 4, false), "step"};
    const Axis y{scale_of(low, high, 4), title};
    std::string paths;
    for (const bool bands : {true, false}) {
        for (std::size_t i = 0; i < set.curves.size(); ++i) {
            const Curve& curve = set.curves[i];
            if (curve.empty() || (bands && !curve.has_band())) continue;
            paths += moegrad::format("<path class=\"{} {}\" data-series=\"{}\" d=\"{}\"/>",
                                     bands ? "band" : "line", classes[i], i,
                                     bands ? detail::band_path(set, curve, x.scale, y.scale)
                                           : detail::line_path(set, curve, x.scale, y.scale));
        }
    }
    const std::string svg = axes_svg(x, y) +
                            "<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" class=\"curves\">" +
                            paths + "</svg>";
    return chart_frame(x, y, "data-lines=\"" + escape(id) + "\"", svg);
}

/// A dot with whiskers: share of the width for value, low and high. Inline, for table cells and rows of dots.
inline std::string whisker_svg(double value, double low, double high, const std::string& kind) {
    std::string out;
    if (!std::isnan(low) && !std::isnan(high)) {
        out += moegrad::format("<line class=\"whisker {}\" x1=\"{}\" x2=\"{}\" y1=\"50%\" y2=\"50%\"/>", kind,
                               percent(low), percent(high));
    }
    return out +
           moegrad::format("<circle class=\"dot {}\" cx=\"{}\" cy=\"50%\" r=\"4\"/>", kind, percent(value));
}

/// The key of a colour scale s0..s<last> (or d0..d10) with its ends named.
inline std::string scale_key(char family, const std::string& low, const std::string& high, int last = 10) {
    std::string out = "<p class=\"key\"><span>" + escape(low) + "</span>";
    for (int i = 0; i <= last; ++i) out += moegrad::format("<i class=\"{}{}\"></i>", family, i);
    return out + "<span>" + escape(high) + "</span></p>\n";
}

}  // namespace moegrad::report
