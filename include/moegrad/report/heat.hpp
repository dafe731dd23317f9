#pragma once
// Heat maps: layers by experts. Up to kSingleCells cells each is an element that prints its number and tells more when
// pointed at; beyond that one path per colour, so that the page of a large model stays small.

#include <moegrad/report/svg.hpp>

#include <map>

namespace moegrad::report {

inline constexpr std::size_t kSingleCells = 300;

/// A cell of a heat map: colour class, what is printed in it, what the read-out says.
struct HeatCell {
    std::string kind, text, tip;
    bool dead = false;
};

/// The columns of a heat map: where they stand, and every how many is named (few cells have room for text).
struct HeatColumns {
    std::vector<std::string> names;
    std::size_t gap = 0;  // a gap is drawn before this column; 0: none

    double all() const { return static_cast<double>(names.size()) + (gap > 0 ? 0.35 : 0); }
    double left(std::size_t c) const {
        return (static_cast<double>(c) + (gap > 0 && c >= gap ? 0.35 : 0)) / all();
    }
    double middle(std::size_t c) const { return left(c) + 0.5 / all(); }
    std::size_t named() const {
        return names.size() > 128 ? 16 : names.size() > 48 ? 8 : names.size() > 20 ? 4 : 1;
    }

    std::string labels() const {
        std::string out;
        for (std::size_t c = 0; c < names.size(); ++c) {
            const std::size_t n = c >= gap ? c - gap : c;
            if (n % named() != 0) continue;
            out += moegrad::format("<text class=\"x{}\" x=\"{}\" y=\"100%\" dy=\"1.4em\">{}</text>",
                                   n / named() % 2 ? " odd" : "", percent(middle(c)), escape(names[c]));
        }
        return out;
    }
};

namespace detail {

/// Names beside the rows; of many rows every few.
inline std::string heat_row_names(const std::vector<std::string>& names) {
    const std::size_t every = names.size() > 40 ? (names.size() + 29) / 30 : 1;
    std::string out;
    for (std::size_t r = 0; r < names.size(); r += every) {
        const double middle = (static_cast<double>(r) + 0.5) / static_cast<double>(names.size());
        out += moegrad::format("<text class=\"y\" x=\"-8\" y=\"{}\" dy=\".35em\">{}</text>", percent(middle),
                               escape(names[r]));
    }
    return out;
}

/// One element per cell, with its number and what it tells.
inline std::string heat_cells(const HeatColumns& columns, const std::vector<std::vector<HeatCell>>& rows) {
    const double height = 1.0 / static_cast<double>(std::max<std::size_t>(rows.size(), 1));
    std::string out;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const double top = static_cast<double>(r) * height;
        for (std::size_t c = 0; c < rows[r].size() && c < columns.names.size(); ++c) {
            const HeatCell& cell = rows[r][c];
            out += moegrad::format(
                "<g class=\"cell {}\" data-tip=\"{}\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                cell.kind, escape(cell.tip), percent(columns.left(c)), percent(top),
                percent(1 / columns.all()), percent(height));
            if (columns.named() == 1 || cell.dead)
                out +=
                    moegrad::format("<text x=\"{}\" y=\"{}\" dy=\".35em\">{}</text>",
                                    percent(columns.middle(c)), percent(top + height / 2), escape(cell.text));
            out += "</g>";
        }
    }
    return out;
}

/// Many cells: one path per colour, no numbers; dead experts as a mark of their own.
inline std::string heat_paths(const HeatColumns& columns, const std::vector<std::vector<HeatCell>>& rows) {
    std::map<std::string, std::string> paths;
    std::string dead;
    const double scale = 100 / columns.all();
    for (std::size_t r = 0; r < rows.size(); ++r) {
        for (std::size_t c = 0; c < rows[r].size() && c < columns.names.size(); ++c) {
            const HeatCell& cell = rows[r][c];
            const std::string kind = cell.kind.substr(0, cell.kind.find(' '));
            const double left = 100 * columns.left(c);
            paths[kind] += moegrad::format("M{:.2f} {}h{:.2f}v1H{:.2f}z", left, r, scale, left);
            if (cell.dead) dead += moegrad::format("M{:.2f} {}.5h{:.2f}", left + 0.2 * scale, r, 0.6 * scale);
        }
    }
    std::string out = moegrad::format(
        "<svg viewBox=\"0 0 100 {}\" preserveAspectRatio=\"none\" width=\"100%\" height=\"100%\">",
        rows.size());
    for (const auto& [kind, path] : paths) out += "<path class=\"fill " + kind + "\" d=\"" + path + "\"/>";
    if (!dead.empty()) out += "<path class=\"deadmark\" d=\"" + dead + "\"/>";
    return out + "</svg>";
}

}  // namespace detail

/// rows[r][c] under the names of rows and columns.
inline std::string heat_svg(const std::vector<std::string>& row_names, const HeatColumns& columns,
                            const std::vector<std::vector<HeatCell>>& rows, const std::string& label) {
    const char* row = rows.size() > 40 ? ";--row:.5rem" : rows.size() > 12 ? ";--row:1.1rem" : "";
    const bool single = rows.size() * columns.names.size() <= kSingleCells;
    return moegrad::format(
               "<div class=\"heat\" style=\"--rows:{}{}\"><svg class=\"plot{}\" role=\"img\" "
               "aria-label=\"{}\">",
               rows.size(), row, columns.names.size() > 10 ? " many" : "", escape(label)) +
           (single ? detail::heat_cells(columns, rows) : detail::heat_paths(columns, rows)) +
           detail::heat_row_names(row_names) + columns.labels() + "</svg></div>\n";
}

}  // namespace moegrad::report
