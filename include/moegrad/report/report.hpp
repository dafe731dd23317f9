#pragma once
// write_report: one self-contained HTML page for a run folder, several of them or a compare folder, and CSV files of
// every table and curve in a folder beside it (report.html, report_csv/). The same folders give the same bytes.
// Sections: result, accuracy against compute, training, routing, the text, by domain and level, questions, settings.
// A section whose files are not there says so in one line.

#include <moegrad/report/compute_section.hpp>
#include <moegrad/report/groups_section.hpp>
#include <moegrad/report/head_section.hpp>
#include <moegrad/report/items_section.hpp>
#include <moegrad/report/script.hpp>
#include <moegrad/report/settings_section.hpp>
#include <moegrad/report/style.hpp>
#include <moegrad/report/text_script.hpp>
#include <moegrad/report/text_section.hpp>
#include <moegrad/report/training_section.hpp>

#include <moegrad/io/atomic_file.hpp>
#include <moegrad/version.hpp>

namespace moegrad::report {

namespace detail {

inline std::string contents(const Page& page) {
    std::string out = "<nav aria-label=\"sections\"><ul>";
    for (const auto& [id, title] : page.contents)
        out += "<li><a href=\"#" + id + "\">" + escape(title) + "</a></li>";
    return out + "</ul></nav>\n";
}

inline std::string document(const Page& page, const ReportData& data) {
    const char* what = data.comparison ? "comparison" : data.arms.size() == 1 ? "run" : "runs";
    std::string out =
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
        "'unsafe-inline'; "
        "script-src 'unsafe-inline'\">\n"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>" +
        escape(data.name) + " \xC2\xB7 moegrad</title>\n<style>" + kColours + kLayout + kControls +
        "</style></head>\n<body>\n<header><p class=\"eyebrow\">moegrad " + what + "</p><h1>" +
        escape(data.name) + "</h1>\n" + facts_line(data) + "</header>\n";
    out += contents(page) + "<main>\n" + page.body + "</main>\n";
    out += moegrad::format("<footer>Written by moegrad {}. Every table and curve is also in {}/.</footer>\n",
                           kVersion, escape(page.csv_folder));
    out +=
        "<script type=\"application/json\" id=\"data\">" + for_script(write_json(page.data)) + "</script>\n";
    return out + "<script>" + kChartScript + kTextScript + kItemsScript + "</script>\n</body></html>\n";
}

}  // namespace detail

/// The page and its CSV files, nothing written. `csv_folder`: where the page's links look for them.
inline std::pair<std::string, std::vector<CsvFile>> make_report(const ReportData& data,
                                                                const std::string& csv_folder) {
    Page page;
    page.csv_folder = csv_folder;
    add_result_section(page, data);
    add_compute_section(page, data);
    add_training_section(page, data);
    add_routing_section(page, data);
    add_text_section(page, data);
    add_groups_section(page, data);
    add_items_section(page, data);
    add_settings_section(page, data);
    return {detail::document(page, data), std::move(page.files)};
}

}  // namespace moegrad::report

namespace moegrad {

/// Writes the report of `folders` to `html_path` and the CSV files beside it, into <name>_csv/.
inline void write_report(const std::vector<std::string>& folders, const std::string& html_path) {
    namespace fs = std::filesystem;
    const report::ReportData data = report::read_report(folders);
    const fs::path html(html_path);
    const std::string csv_folder = html.stem().string() + "_csv";
    const auto [page, files] = report::make_report(data, csv_folder);
    std::error_code problem;
    const fs::path folder = html.has_parent_path() ? html.parent_path() : fs::path(".");
    fs::create_directories(folder / csv_folder, problem);
    if (problem)
        throw Error{ErrorCode::file, (folder / csv_folder).string(), "a folder to write to",
                    problem.message()};
    for (const report::CsvFile& file : files)
        write_file_atomically((folder / csv_folder / file.name).string(), file.text);
    write_file_atomically(html_path, page);
}

/// Writes FOLDER/report.html and returns its path.
inline std::string write_report(const std::string& folder) {
    const std::string path = folder + "/report.html";
    write_report(std::vector<std::string>{folder}, path);
    return path;
}

}  // namespace moegrad
