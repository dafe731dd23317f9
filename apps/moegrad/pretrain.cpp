// moegrad pretrain: a small model from nothing, on the small world or on a text. Every key is a flag.
// Ctrl-C finishes the step, saves a checkpoint and exits with 130; --resume goes on.

#include <cstdio>
#include <memory>

#include <moegrad/train/pretrain.hpp>
#include <moegrad/train/stop_signal.hpp>

#include "device_flags.hpp"
#include "toml_config.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

/// The number type that nobody gave: float32, on a GPU that of the checkpoint to be written.
void settle_number(PretrainConfig& config) {
    if (!config.dtype.empty()) return;
    config.dtype = config.place() == Device::cuda ? config.stored : "float32";
    if (config.place() == Device::cpu) return;
    fmt::print(stderr, "{}: as the checkpoint will be stored, --dtype changes it\n", config.dtype);
}

void add_pretrain(CLI::App& app) {
    auto config = std::make_shared<PretrainConfig>();
    auto file = std::make_shared<std::string>();
    auto flags = std::make_shared<std::vector<std::pair<std::string, std::string>>>();
    auto resume = std::make_shared<bool>(false), replace = std::make_shared<bool>(false);
    CLI::App* verb =
        app.add_subcommand("pretrain", "train a small model from nothing; flags override the file");
    verb->add_option("--config", *file, "TOML file with the keys below")->check(CLI::ExistingFile);
    verb->add_flag("--resume", *resume, "go on from the newest checkpoint in output.dir, with its settings");
    verb->add_flag("--replace", *replace, "give up a finished run in output.dir");
    const std::map<std::string, std::string> shorter{
        {"train.steps", ",--steps"},   {"train.batch", ",--batch"}, {"train.threads", ",--threads"},
        {"train.device", ",--device"}, {"train.dtype", ",--dtype"}, {"train.seed", ",--seed"},
        {"optim.lr", ",--lr"},         {"output.dir", ",--out"}};
    for (const auto& entry : pretrain_table().entries()) {
        const std::string key = entry.key;
        const auto alias = shorter.find(key);
        const std::string value = pretrain_table().get(entry, *config);
        verb->add_option_function<std::string>(
                "--" + key + (alias == shorter.end() ? "" : alias->second),
                [flags, key](const std::string& text) {
                    require_value("--" + key, text);
                    flags->emplace_back(key, text);
                },
                entry.help + (value.empty() ? std::string() : " [" + value + "]"))
            ->type_name("");
    }
    verb->callback([=] {
        config->dtype.clear();  // until a key gives it
        if (!file->empty()) read_toml_config(*config, *file);
        const auto apply_flags = [&] {
            for (const auto& [key, value] : *flags) set_config(*config, key, value, "--" + key);
        };
        apply_flags();
        if (*resume && file->empty()) {
            read_toml_config(*config, config->output + "/config.toml");
            apply_flags();
        }
        settle_number(*config);
        const StopSignal signal;
        const auto say = [](const std::string& line) {
            fmt::print("{}\n", line);
            std::fflush(stdout);
        };
        detail::check_device(config->place(), config->number());
        const RunControl control{.resume = *resume, .replace = *replace, .stop = &signal.requested()};
        const auto summary = with_number(
            config->number(), [&]<class Real>() { return run_pretraining<Real>(*config, say, control); });
        if (summary.interrupted) {
            fmt::print("stopped; this goes on:\n  {} pretrain --resume --out {}\n", program_name(),
                       shell_quoted(config->output));
            throw CLI::RuntimeError(130);
        }
        fmt::print("{} tokens, model in {}\n", summary.tokens, summary.model);
    });
}

const RegisterVerb pretrain_registered(15, add_pretrain);

}  // namespace
