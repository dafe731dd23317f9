// moegrad train: fine-tunes a checkpoint. Every key of the configuration is a flag; flags override the file.

#include <cstdio>

#include <moegrad/train/run.hpp>

#include "toml_config.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

void add_train(CLI::App& app) {
    auto config = std::make_shared<RunConfig>();
    auto file = std::make_shared<std::string>(), device = std::make_shared<std::string>("cpu");
    auto flags = std::make_shared<std::vector<std::pair<std::string, std::string>>>();
    CLI::App* verb = app.add_subcommand("train", "fine-tune a checkpoint; flags override the file");
    verb->add_option("--config", *file, "TOML file with the keys below")->check(CLI::ExistingFile);
    verb->add_option("--device", *device, "cpu");
    const std::map<std::string, std::string> shorter{
        {"model.path", ",--model"},  {"data.train", ",--data"},   {"adapter.method", ",--method"},
        {"train.steps", ",--steps"}, {"train.batch", ",--batch"}, {"train.threads", ",--threads"},
        {"train.seed", ",--seed"},   {"optim.lr", ",--lr"},       {"output.dir", ",--out"},
        {"model.dtype", ",--dtype"}};
    for (const auto& field : config_fields()) {
        const std::string key = field.key;
        const auto alias = shorter.find(key);
        const std::string value = field.get(*config);
        verb->add_option_function<std::string>(
                "--" + key + (alias == shorter.end() ? "" : alias->second),
                [flags, key](const std::string& text) { flags->emplace_back(key, text); },
                field.help + (value.empty() ? std::string() : " [" + value + "]"))
            ->type_name("");
    }
    verb->callback([=] {
        require_cpu(*device);
        if (!file->empty()) read_toml_config(*config, *file);
        for (const auto& [key, value] : *flags) set_config(*config, key, value, "--" + key);
        const auto say = [](const std::string& line) {
            fmt::print("{}\n", line);
            std::fflush(stdout);
        };
        const auto summary = config->dtype == Number::float64 ? run_training<double>(*config, say)
                                                              : run_training<float>(*config, say);
        if (summary.evaluated)
            fmt::print("held-out nll {:.4f} -> {:.4f}   ", summary.nll_before, summary.nll_after);
        fmt::print("adapter in {}\n", summary.adapter);
    });
}

const RegisterVerb train_registered(20, add_train);

}  // namespace
