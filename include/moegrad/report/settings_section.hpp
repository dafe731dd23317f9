#pragma once
// The settings of the runs: those that differ between arms, or all of a single run.

#include <moegrad/report/page.hpp>

namespace moegrad::report {

namespace detail {

/// The value of a setting in an arm; paths without their folders.
inline std::string shown_setting(const Arm& arm, const std::string& key) {
    const RunFolder* run = arm.first([](const RunFolder& r) { return !r.config.empty(); });
    std::string value = run ? run->setting(key) : "";
    const std::size_t slash = value.find_last_of('/');
    return slash == value.npos || slash + 1 == value.size() ? value : value.substr(slash + 1);
}

/// Keys in the order of the first run's file, then those that only others have.
inline std::vector<std::string> setting_keys(const ReportData& data) {
    std::vector<std::string> keys;
    for (const Arm& arm : data.arms)
        for (const RunFolder& run : arm.runs)
            for (const auto& [key, value] : run.config)
                if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    return keys;
}

}  // namespace detail

inline Csv settings_csv(const ReportData& data) {
    std::vector<std::string> header{"setting"};
    for (const Arm& arm : data.arms) header.push_back(arm.name);
    Csv csv(header);
    for (const std::string& key : detail::setting_keys(data)) {
        csv.add(key);
        for (const Arm& arm : data.arms) csv.add(detail::shown_setting(arm, key));
        csv.end();
    }
    return csv;
}

/// Settings that differ between arms; all settings when there is one arm.
inline std::string settings_table(const ReportData& data) {
    const bool one = data.arms.size() == 1;
    Table table(one ? "Settings" : "Settings that differ between the arms");
    table.column("setting");
    for (const Arm& arm : data.arms) table.column(escape(arm.name));
    for (const std::string& key : detail::setting_keys(data)) {
        if (key == "output.dir" || (key == "train.seed" && data.comparison)) continue;
        std::vector<Cell> row{{"<code>" + escape(key) + "</code>", ""}};
        bool differs = one;
        for (const Arm& arm : data.arms) {
            const std::string value = detail::shown_setting(arm, key);
            differs = differs || value != detail::shown_setting(data.arms[0], key);
            row.push_back({value.empty() ? "<span class=\"none\">\xE2\x80\x93</span>" : escape(value), ""});
        }
        if (differs) table.row(std::move(row));
    }
    if (!table.empty()) return table.html();
    return absent(detail::setting_keys(data).empty() ? "No config.toml in the run folders."
                                                     : "The arms have the same settings.");
}

inline void add_settings_section(Page& page, const ReportData& data) {
    std::string html = settings_table(data);
    if (!detail::setting_keys(data).empty()) {
        html += "<p class=\"note\">Of the first seed. <a href=\"" +
                escape(page.file("settings.csv", settings_csv(data))) + "\">CSV of all settings</a></p>\n";
    }
    page.add("settings", "Settings", html);
}

}  // namespace moegrad::report
