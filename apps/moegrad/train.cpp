// moegrad train: fine-tunes a checkpoint. Every key of the configuration is a flag; flags override the file.
// Ctrl-C (SIGINT, SIGTERM): finishes the step, saves a checkpoint, prints the command that goes on, exits with 130.

#include <cstdio>

#include <moegrad/train/run.hpp>
#include <moegrad/train/stop_signal.hpp>

#include "device_flags.hpp"
#include "run_flags.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

/// The settings of the run in the folder, and on top what the command line says, as far as it may differ.
RunConfig resumed_config(const std::string& folder, const std::string& file, const RunFlags& flags) {
    const std::string settings = folder + "/config.toml";
    if (!file_exists(settings)) {
        throw Error{ErrorCode::file, settings, "the settings of the run to go on with", "no such file",
                    "is --out the run's folder? without --resume a new run begins"};
    }
    const RunConfig saved = run_config({}, settings, {});
    RunConfig asked = run_config(saved, file, flags);
    asked.output = folder;
    require_resumable(saved, asked);
    return asked;
}

RunSummary train(const RunConfig& config, bool resume, bool replace) {
    const auto say = [](const std::string& line) {
        fmt::print("{}\n", line);
        std::fflush(stdout);
    };
    const StopSignal signal;
    const RunControl control{.resume = resume, .replace = replace, .stop = &signal.requested()};
    detail::check_device(config.device, config.dtype);
    return with_number(config.dtype, [&]<class Real>() { return run_training<Real>(config, say, control); });
}

void add_train(CLI::App& app) {
    auto file = std::make_shared<std::string>();
    auto resume = std::make_shared<bool>(false), replace = std::make_shared<bool>(false);
    CLI::App* verb = app.add_subcommand("train", "fine-tune a checkpoint; flags override the file");
    verb->add_option("--config", *file, "TOML file with the keys below")->check(CLI::ExistingFile);
    verb->add_flag("--resume", *resume, "go on from the newest checkpoint in output.dir");
    verb->add_flag("--replace", *replace, "give up a finished run in output.dir");
    const auto flags = add_run_flags(*verb);
    verb->callback([=] {
        RunConfig config = run_config({}, *file, *flags);
        if (*resume) config = resumed_config(config.output, *file, *flags);
        settle_number(config);
        const auto summary = train(config, *resume, *replace);
        if (summary.interrupted) {
            fmt::print("stopped; this goes on:\n  {} train --resume --out {}\n", program_name(),
                       shell_quoted(config.output));
            throw CLI::RuntimeError(130);
        }
        if (summary.evaluated)
            fmt::print("held-out nll {:.4f} -> {:.4f}   ", summary.nll_before, summary.nll_after);
        fmt::print("adapter in {}\n", summary.adapter);
        fmt::print("peak memory {:.1f} MiB\n", static_cast<double>(process_memory().highest) / (1 << 20));
    });
}

const RegisterVerb train_registered(20, add_train);

}  // namespace
