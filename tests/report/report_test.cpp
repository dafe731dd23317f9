// The whole page: every section, nothing from outside, nothing unescaped, CSV files that agree with the data.

#include <moegrad/report/report.hpp>

#include "support.hpp"

using namespace moegrad;
using report_test::contains;
using report_test::Folder;

namespace {

const char* const kSections[] = {"result", "compute", "training",  "routing",
                                 "text",   "groups",  "questions", "settings"};

}  // namespace

TEST_CASE("report: a comparison has every section, its numbers and its statement") {
    const Folder folder;
    report_test::write_comparison(folder);
    const std::string path = write_report(folder.path());
    CHECK(path == folder.path() + "/report.html");
    const std::string page = folder.read("report.html");
    for (const char* id : kSections) {
        CAPTURE(id);
        CHECK(contains(page, std::string("<section id=\"") + id + "\">"));
        CHECK(contains(page, std::string("href=\"#") + id + "\""));
    }
    for (const char* words :
         {"33.3", "66.7",
          "50.0\xE2\x80\x93"
          "75.0",
          "Assay passed.", "1.500 (+0.250)", "they differ", "<b>+33.3</b>", "One sentence &amp; another.",
          "Before fine-tuning: accuracy 25.0 %", "Dead experts", "1 of 6. layer 0: 2.",
          "Tokens whose slots all went to nulls: 10.0 %",
          "1 fact tokens used 2.00 true experts each, 2 filler tokens 0.75", "router.null_experts", "1.2k"}) {
        CAPTURE(words);
        CHECK(contains(page, words));
    }
    CHECK(page.size() < (std::size_t{1} << 20));
}

TEST_CASE("report: the Pareto front is made of the arms that no other beats at its compute or less") {
    report::ReportData data;
    const auto arm = [&](const char* name, double load, double acc) {
        report::Arm one;
        one.name = name;
        one.measures["load"] = {load, load, load};
        if (acc > 0) one.measures["acc"] = {acc, acc, acc};
        data.arms.push_back(one);
    };
    arm("full", 2, 0.9);
    arm("beaten", 1.5, 0.6);
    arm("cheap", 1, 0.5);
    arm("half", 1.4, 0.7);
    arm("equal", 1.4, 0.7);
    arm("dear", 3, 0.9);
    arm("not asked", 0.5, 0);
    CHECK(report::detail::pareto_front(data, false) == std::vector<std::size_t>{2, 3, 0});
    CHECK(report_test::count(report::detail::scatter(data), "class=\"front\"") == 2);
}

TEST_CASE("report: arms can stand side by side") {
    const Folder folder;
    report_test::write_comparison(folder);
    write_report(folder.path());
    const std::string page = folder.read("report.html");
    CHECK(report_test::count(page, "data-arm=\"all\"") == 1);  // of routing
    CHECK(report_test::count(page, "<div class=\"panels\" data-group=\"routing\">") == 1);
    CHECK(contains(page, "<select id=\"beside\">"));
}

TEST_CASE("report: the page needs nothing from outside") {
    const Folder folder;
    report_test::write_comparison(folder);
    write_report(folder.path());
    const std::string page = folder.read("report.html");
    for (const char* words : {"https://", "src=", "<link", "@import", "url(", "<iframe", "<object", "fetch(",
                              "XMLHttpRequest", "import("}) {
        CAPTURE(words);
        CHECK_FALSE(contains(page, words));
    }
    // The name of SVG's namespace is no address that anything loads.
    CHECK(report_test::count(page, "http://") == report_test::count(page, "'http://www.w3.org/2000/svg'"));
}

TEST_CASE("report: text from data is escaped everywhere") {
    const Folder folder;
    report_test::write_comparison(folder);
    write_report(folder.path());
    const std::string page = folder.read("report.html");
    CHECK_FALSE(contains(page, "<script>alert"));
    CHECK_FALSE(contains(page, "<b>Ada"));
    CHECK_FALSE(contains(page, "<i>is</i>"));
    CHECK(contains(page, "<title>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    CHECK(contains(page, " &lt;script&gt;alert(1)&lt;/script&gt;</span>"));
    CHECK(contains(page, "&lt;b&gt;Ada&lt;/b&gt;"));
    CHECK(contains(page, "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e"));
    // Two script elements open, two close: data has added none.
    CHECK(report_test::count(page, "<script") == 2);
    CHECK(report_test::count(page, "</script") == 2);
}

TEST_CASE("report: a section whose file is absent says so in one line") {
    const Folder folder;
    report_test::write_run(folder, "run", true);
    const std::pair<const char*, std::vector<const char*>> cases[] = {
        {"eval/tokens.json", {"No eval/tokens.json"}},
        {"eval/items.jsonl", {"no accuracy per domain", "no questions to browse"}},
        {"eval/results.json", {"Not evaluated yet"}},
        {"config.toml", {"No config.toml"}},
    };
    for (const auto& [file, lines] : cases) {
        std::filesystem::remove(folder.file("run/" + std::string(file)));
        write_report(folder.file("run"));
        for (const char* line : lines) {
            CAPTURE(line);
            CHECK(contains(folder.read("run/report.html"), line));
        }
    }
    CHECK(contains(folder.read("run/report.html"), "data-lines=\"value ce\""));
    std::filesystem::remove(folder.file("run/metrics.jsonl"));
    report_test::write_run(folder, "other", false);
    std::filesystem::remove(folder.file("other/metrics.jsonl"));
    write_report({folder.file("other")}, folder.file("out/page.html"));
    CHECK(contains(folder.read("out/page.html"), "No metrics.jsonl"));
    CHECK(contains(folder.read("out/page.html"), "No routers in metrics.jsonl"));
    CHECK(contains(folder.read("out/page.html"), "href=\"page_csv/arms.csv\""));
    CHECK(file_exists(folder.file("out/page_csv/arms.csv")));
}

TEST_CASE(
    "report: penalties times their coefficients are values of their own; a chart of zeros is left out") {
    const Folder folder;
    folder.write(
        "run/metrics.jsonl",
        "{\"step\":0,\"ce\":2,\"balance\":2,\"z\":4,\"lr\":0.1,\"grad_norm\":1,\"tokens\":9,\"supervised\":4,"
        "\"weighted\":{\"balance\":0.5,\"z\":0}}\n"
        "{\"step\":1,\"ce\":1,\"balance\":1,\"z\":4,\"lr\":0.1,\"grad_norm\":1,\"tokens\":9,\"supervised\":4,"
        "\"weighted\":{\"balance\":0.25,\"z\":0}}\n");
    write_report(folder.file("run"));
    const std::string page = folder.read("run/report.html");
    for (const char* line : {"value balance", "value z", "value weighted balance"})
        CHECK(contains(page, "data-lines=\"" + std::string(line) + "\""));
    CHECK_FALSE(contains(page, "data-lines=\"value weighted z\""));
    CHECK(contains(
        folder.read("run/report_csv/metrics.csv"),
        ",tokens,supervised,balance,z,weighted balance,weighted z,load\nrun,0,0,2,0.1,1,9,4,2,4,0.5,0,"));
}

TEST_CASE("report: a comparison that is not finished names the runs that are missing") {
    const Folder folder;
    report_test::write_run(folder, "a-0", false);
    folder.write("compare.json", report_test::compare_json());
    write_report(folder.path());
    CHECK(contains(folder.read("report.html"), "Not there, or not yet: b-0."));
    CHECK(contains(folder.read("report.html"), "No routers in metrics.jsonl."));
}

TEST_CASE("report: CSV files agree with the data, and every link has its file") {
    const Folder folder;
    report_test::write_comparison(folder);
    write_report(folder.path());
    const std::string page = folder.read("report.html");
    for (std::size_t at = page.find("href=\"report_csv/"); at != std::string::npos;
         at = page.find("href=\"report_csv/", at + 1)) {
        const std::size_t begin = at + 6;
        CHECK(file_exists(folder.file(page.substr(begin, page.find('"', begin) - begin))));
    }
    const auto csv = [&](const char* name) { return folder.read(std::string("report_csv/") + name); };
    CHECK(contains(csv("arms.csv"), "\ntop-2,lora,yes,1,acc,0.3333,0.25,0.5\n"));
    CHECK(contains(csv("paired.csv"), "\n<b>Ada</b>,top-2,acc,0.3334,0.125,0.5,they differ\n"));
    CHECK(contains(csv("metrics.csv"),
                   "arm,seed,step,ce,lr,grad_norm,tokens,supervised,balance,load\n"
                   "top-2,3,0,2,0.001,0.5,10,4,1.5,2\ntop-2,3,1,1.9375,"));
    CHECK(contains(csv("routers.csv"), "\n<b>Ada</b>,b-0,19,model.layers.1.mlp,1.25,0.81,0.1\n"));
    CHECK(contains(csv("expert_load.csv"), "\n<b>Ada</b>,b-0,model.layers.0.mlp,2,expert,0.6,0,yes\n"));
    CHECK(contains(csv("expert_load.csv"), "\n<b>Ada</b>,b-0,model.layers.0.mlp,3,null,0.3,0.3,no\n"));
    CHECK(contains(csv("experts_per_token.csv"), "\n<b>Ada</b>,b-0,model.layers.0.mlp,1,0.5\n"));
    CHECK(contains(csv("items.csv"), "\ntop-2,a-0,q1,people,1,0,1,no,0.5,-0.5;-1.25\n"));
    CHECK(contains(csv("tokens.csv"), "\n<b>Ada</b>,b-0,q1,2,\" a,\"\"b\"\"\",no,1,1;0\n"));
    CHECK(contains(csv("accuracy_groups.csv"), "\ndomain,places,top-2,2,0.5,"));
    CHECK(contains(csv("accuracy_compute.csv"), "\n<b>Ada</b>,,0.6667,0.5,0.75,1.25,0.33\n"));
    CHECK(contains(csv("evaluations.csv"), "\ntop-2,3,20,1.25,2\n"));
    CHECK(report_test::count(csv("metrics.csv"), "\n") == 41);
}

TEST_CASE("report: the same bytes on a second run, and where the folder lies is not in them") {
    const Folder one, two;
    for (const Folder* folder : {&one, &two}) {
        report_test::write_comparison(*folder);
        write_report(folder->path());
    }
    const std::string page = one.read("report.html");
    CHECK(page == two.read("report.html"));
    CHECK_FALSE(contains(page, one.path()));
    write_report(one.path());
    CHECK(page == one.read("report.html"));
}

TEST_CASE("report: an assay of too few documents has not failed") {
    moegrad::report::Assay assay{1.25, 1.31, 2.0, "nats per token", false, false};
    CHECK(moegrad::report::detail::assay_line(assay).find("Assay failed.") != std::string::npos);
    assay.undecided = true;
    const std::string line = moegrad::report::detail::assay_line(assay);
    CHECK(line.find("Assay undecided.") != std::string::npos);
    CHECK(line.find("Too few documents") != std::string::npos);
}
