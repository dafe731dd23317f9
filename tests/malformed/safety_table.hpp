#pragma once
// The table of cases in docs/safety.md: between two marks, row for row what the corpus holds. With MOEGRAD_WRITE_DOCS set
// the test writes it.

#include <doctest/doctest.h>
#include <io/support.hpp>
#include <malformed/case.hpp>
#include <moegrad/core/format.hpp>

#include <cstdlib>
#include <fstream>
#include <string>

namespace malformed {

/// "| E07 | product wraps to 4 | format: model.safetensors: t.shape |"
inline std::string safety_table(const Cases& cases) {
    std::string out = "| id | input | answer |\n|---|---|---|\n";
    const auto plain = [](std::string text) {
        for (std::size_t at = text.find('|'); at != text.npos; at = text.find('|', at + 2))
            text.insert(at, "\\");
        return text;
    };
    for (const Case& row : cases)
        out += moegrad::format(
            "| {} | {} | {} |\n", row.id, plain(row.what),
            row.refused()
                ? moegrad::format("{}{}{}", name(row.code), row.place.empty() ? "" : " · ", plain(row.place))
                : "loads");
    return out;
}

/// `section` names the marks.
inline void check_safety_page(const Cases& cases, const std::string& section) {
    const std::string path = MOEGRAD_SOURCE_DIR "/docs/safety.md";
    const std::string begin = "<!-- cases: " + section + " -->\n",
                      end = "<!-- end of cases: " + section + " -->\n";
    std::string page = io_test::read_text(path);
    const std::size_t from = page.find(begin), to = page.find(end);
    REQUIRE(from != std::string::npos);
    REQUIRE(to != std::string::npos);
    const std::string table = safety_table(cases);
    if (std::getenv("MOEGRAD_WRITE_DOCS") != nullptr) {
        page.replace(from + begin.size(), to - from - begin.size(), table);
        std::ofstream(path) << page;
        return;
    }
    const bool same = page.substr(from + begin.size(), to - from - begin.size()) == table;
    INFO("write it again with MOEGRAD_WRITE_DOCS=1");
    CHECK(same);
}

}  // namespace malformed
