// Escaping, CSV cells, numbers and axes.

#include <moegrad/report/csv.hpp>
#include <moegrad/report/html.hpp>
#include <moegrad/report/numbers.hpp>

#include <doctest/doctest.h>

#include <limits>

using namespace moegrad::report;

TEST_CASE("html: text from data cannot become markup") {
    CHECK(escape("<script>alert(\"1\" & '2')</script>") ==
          "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;");
    CHECK(escape("caf\xC3\xA9") == "caf\xC3\xA9");
    const std::string inside = for_script(R"({"a":"</script><!-- & -->"})");
    CHECK(inside == R"({"a":"\u003c/script\u003e\u003c!-- \u0026 --\u003e"})");
    Table table("<caption>");
    table.column("a");
    table.row({text_cell("<td>")});
    CHECK(table.html().find("<caption>\"") == std::string::npos);
    CHECK(table.html().find("<td>") == std::string::npos);
    CHECK(Figure{"<h1>", "<p>", "<note>", "\"x"}.html("").find("<h1>") == std::string::npos);
}

TEST_CASE("csv: cells with commas, quotes and line ends are quoted; numbers read back to the same double") {
    Csv csv({"a", "b,c"});
    csv.add("say \"x\"").add(0.1).end();
    csv.add(" two\nlines").add(std::numeric_limits<double>::quiet_NaN()).end();
    csv.add(std::int64_t{-3}).add(std::vector<double>{-0.5, 1e-9}).end();
    CHECK(csv.text() == "a,\"b,c\"\n\"say \"\"x\"\"\",0.1\n\" two\nlines\",\n-3,-0.5;1e-09\n");
}

TEST_CASE("numbers: decimals, groups and signs as a page shows them") {
    CHECK(fixed(-0.04, 1) == "0.0");
    CHECK(fixed(-1.25, 2) ==
          "\xE2\x88\x92"
          "1.25");
    CHECK(grouped(61440) ==
          "61\xE2\x80\xAF"
          "440");
    CHECK(grouped(1234567) ==
          "1\xE2\x80\xAF"
          "234\xE2\x80\xAF"
          "567");
    CHECK(grouped(999) == "999");
    CHECK(thousands(12400) == "12.4k");
    CHECK(brief(0.123456) == "0.1235");
    CHECK(rounded(1.23456789) == 1.2346);
}

TEST_CASE("numbers: an axis has round marks and holds the data") {
    const Scale scale = scale_of(0.62, 0.77, 4);
    CHECK(scale.low <= 0.62);
    CHECK(scale.high >= 0.77);
    CHECK(scale.step == doctest::Approx(0.05));
    CHECK(scale.decimals == 2);
    CHECK(scale.marks().size() == 5);
    CHECK(scale.share(scale.low) == 0);
    CHECK(scale.share(scale.high) == 1);
    const Scale point = scale_of(2, 2, 4);  // all values equal
    CHECK(point.low < 2);
    CHECK(point.high > 2);
    CHECK(scale_of(0, 300, 4, false).high == 300);
}
