// moegrad compare: methods x seeds from one TOML file, with means, intervals and paired differences.

#include "compare_toml.hpp"
#include "compare_verb.hpp"
#include "run_flags.hpp"
#include "share_jobs.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

struct CompareFlags {
    std::string file, out, device;
    int threads = 0;
    JobFlags jobs;
};

void add_compare(CLI::App& app) {
    auto flags = std::make_shared<CompareFlags>();
    CLI::App* verb = app.add_subcommand("compare", "train and score methods x seeds from one TOML file");
    verb->add_option("file", flags->file, "TOML file: seeds, [base], [eval], [[arm]], [[task]]")
        ->required()
        ->check(CLI::ExistingFile);
    verb->add_option("--out", flags->out, "folder [runs/NAME]; what is done there is not run again");
    verb->add_option("--device", flags->device, "cpu or cuda: train.device of every run")
        ->check(CLI::IsMember({"cpu", "cuda"}));
    verb->add_option("--threads", flags->threads, "0: MOEGRAD_THREADS, else all cores");
    add_job_flags(*verb, flags->jobs);
    verb->callback([=] {
        CompareSuite suite = read_compare_toml(flags->file);
        if (flags->out.empty() && !moegrad::detail::is_plain_name(suite.name)) {
            throw Error{ErrorCode::config, flags->file, "a name of letters, digits, _ and -",
                        "\"" + suite.name + "\"", "its folder is runs/NAME; or pass --out"};
        }
        suite.output = flags->out.empty() ? "runs/" + suite.name : flags->out;
        for (CompareSpec& spec : suite.tasks) {
            spec.threads = threads_of(flags->jobs, flags->threads);
            if (!flags->device.empty())
                spec.base.device = flags->device == "cuda" ? Device::cuda : Device::cpu;
            settle_number(spec.base);
        }
        place_tasks(suite);
        if (share_runs("compare", flags->jobs, suite.output, suite.tasks)) return;
        compare_and_print(suite);
    });
}

const RegisterVerb compare_registered(50, add_compare);

}  // namespace
