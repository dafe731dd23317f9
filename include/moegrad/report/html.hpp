#pragma once
// HTML text: escaping, tables, figures. Everything that comes from data goes through escape().

#include <moegrad/core/format.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad::report {

/// Text for element content and for attributes in double or single quotes.
inline std::string escape(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        switch (c) {
            case '&': out += "&amp;"; break;
            case '<': out += "&lt;"; break;
            case '>': out += "&gt;"; break;
            case '"': out += "&quot;"; break;
            case '\'': out += "&#39;"; break;
            default: out += c;
        }
    }
    return out;
}

/// JSON text for the inside of a script element: nothing in it can end the element or open a comment.
inline std::string for_script(std::string_view json) {
    std::string out;
    out.reserve(json.size());
    for (const char c : json) {
        if (c == '<') {
            out += "\\u003c";
        } else if (c == '>') {
            out += "\\u003e";
        } else if (c == '&') {
            out += "\\u0026";
        } else {
            out += c;
        }
    }
    return out;
}

/// A table cell: `html` as it is, `kind` its class ("num" for numbers).
struct Cell {
    std::string html, kind;
};
inline Cell text_cell(std::string_view text) {
    return {escape(text), ""};
}
inline Cell number_cell(std::string html) {
    return {std::move(html), "num"};
}

/// A table whose first column names the rows. Wide tables scroll inside their frame, not the page.
class Table {
public:
    explicit Table(std::string caption) : caption_(std::move(caption)) {}

    void column(std::string html, std::string kind = "") {
        head_.push_back({std::move(html), std::move(kind)});
    }
    void row(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }
    bool empty() const { return rows_.empty(); }

    std::string html() const {
        std::string out = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" +
                          escape(caption_) + "\"><table><caption class=\"quiet\">" + escape(caption_) +
                          "</caption><thead><tr>";
        for (const Cell& cell : head_) out += open("th scope=\"col\"", cell.kind) + cell.html + "</th>";
        out += "</tr></thead><tbody>\n";
        for (const auto& row : rows_) {
            out += "<tr>";
            for (std::size_t i = 0; i < row.size(); ++i) {
                out += open(i == 0 ? "th scope=\"row\"" : "td", row[i].kind) + row[i].html;
                out += i == 0 ? "</th>" : "</td>";
            }
            out += "</tr>\n";
        }
        return out + "</tbody></table></div>\n";
    }

private:
    static std::string open(const char* tag, const std::string& kind) {
        return std::string("<") + tag + (kind.empty() ? std::string() : " class=\"" + kind + "\"") + ">";
    }

    std::string caption_;
    std::vector<Cell> head_;
    std::vector<std::vector<Cell>> rows_;
};

/// A section with a heading that the table of contents can reach.
inline std::string section(std::string_view id, std::string_view title, const std::string& body) {
    return moegrad::format("<section id=\"{}\"><h2>{}</h2>\n{}</section>\n", id, escape(title), body);
}

/// One line in the place of what is not there.
inline std::string absent(std::string_view what) {
    return "<p class=\"absent\">" + escape(what) + "</p>\n";
}

/// A figure: title, one sentence, the drawing, and the note of what it was made from.
struct Figure {
    std::string title, says, note, csv;  // csv: file name beside the page; empty: none
    std::string kind = "";               // class of the figure

    std::string html(const std::string& drawing) const {
        std::string out = "<figure class=\"" + kind + "\"><figcaption><h3>" + escape(title) + "</h3>";
        if (!says.empty()) out += "<p>" + escape(says) + "</p>";
        out += "</figcaption>\n" + drawing + "<p class=\"note\">" + escape(note);
        if (!csv.empty()) out += (note.empty() ? "" : " ") + ("<a href=\"" + escape(csv)) + "\">CSV</a>";
        return out + "</p></figure>\n";
    }
};

}  // namespace moegrad::report
