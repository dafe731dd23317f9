// moegrad repro: a finished run again, and whether the same bits come out.

#include <cstdio>

#include <moegrad/train/repro.hpp>
#include <moegrad/train/run.hpp>

#include "device_flags.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

void add_repro(CLI::App& app) {
    auto options = std::make_shared<ReproOptions>();
    CLI::App* verb = app.add_subcommand("repro", "take a finished run again and compare the bits");
    verb->add_option("run", options->run, "folder of the run")->required()->check(CLI::ExistingDirectory);
    verb->add_option("--out", options->out, "folder of the new run [RUN/repro]");
    verb->add_option("--threads", options->threads, "other than the run's; the bits must be the same");
    verb->add_option("--model", options->model, "where the base checkpoint is now");
    verb->add_option("--data", options->train_data, "where the training data are now");
    verb->add_option("--eval-data", options->eval_data, "where the evaluation data are now");
    verb->add_flag("--anyway", options->anyway, "also when inputs or settings changed");
    verb->callback([=] {
        const auto say = [](const std::string& line) {
            fmt::print("{}\n", line);
            std::fflush(stdout);
        };
        const auto train = [&](const RunConfig& config) {
            with_number(config.dtype, [&]<class Real>() { run_training<Real>(config, say); });
        };
        const ReproResult result = reproduce(*options, train, say);
        if (!result.equal) {
            throw Error{ErrorCode::value, options->run, "the hashes of the run", "other ones",
                        "guarantee: " + result.tier + "; see " + result.out + "/repro.json"};
        }
        say(result.verdict());
        if (!result.good()) throw CLI::RuntimeError(1);
    });
}

const RegisterVerb repro_registered(25, add_repro);

}  // namespace
