// moegrad report: one HTML page for a run, several runs or a comparison, and CSV files beside it.

#include <moegrad/report/report.hpp>

#include "verbs.hpp"

using namespace moegrad;

namespace {

void add_report(CLI::App& app) {
    auto folders = std::make_shared<std::vector<std::string>>();
    auto out = std::make_shared<std::string>();
    CLI::App* verb =
        app.add_subcommand("report", "write report.html for a run, several runs or a comparison");
    verb->add_option("folders", *folders, "run folders, or one folder with compare.json")->required();
    verb->add_option("--out", *out, "HTML file [report.html in the folder; required for several runs]");
    verb->callback([=] {
        if (out->empty() && folders->size() > 1) {
            throw Error{ErrorCode::config, "--out", "an HTML file when there are several runs", "nothing",
                        "pass --out report.html"};
        }
        std::string path = *out;
        if (path.empty()) {
            path = write_report(folders->front());
        } else {
            write_report(*folders, path);
        }
        fmt::print("{}\n", path);
    });
}

const RegisterVerb report_registered(60, add_report);

}  // namespace
