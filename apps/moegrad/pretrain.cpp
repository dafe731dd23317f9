// moegrad pretrain: a small model from nothing, on the small world or on a text. Every key is a flag.

#include <cstdio>
#include <memory>

#include <moegrad/train/pretrain.hpp>

#include "toml_config.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

void add_pretrain(CLI::App& app) {
    auto config = std::make_shared<PretrainConfig>();
    auto file = std::make_shared<std::string>();
    auto flags = std::make_shared<std::vector<std::pair<std::string, std::string>>>();
    CLI::App* verb =
        app.add_subcommand("pretrain", "train a small model from nothing; flags override the file");
    verb->add_option("--config", *file, "TOML file with the keys below")->check(CLI::ExistingFile);
    const std::map<std::string, std::string> shorter{
        {"train.steps", ",--steps"}, {"train.batch", ",--batch"}, {"train.threads", ",--threads"},
        {"train.seed", ",--seed"},   {"optim.lr", ",--lr"},       {"output.dir", ",--out"}};
    for (const auto& entry : pretrain_table().entries()) {
        const std::string key = entry.key;
        const auto alias = shorter.find(key);
        const std::string value = pretrain_table().get(entry, *config);
        verb->add_option_function<std::string>(
                "--" + key + (alias == shorter.end() ? "" : alias->second),
                [flags, key](const std::string& text) { flags->emplace_back(key, text); },
                entry.help + (value.empty() ? std::string() : " [" + value + "]"))
            ->type_name("");
    }
    verb->callback([=] {
        if (!file->empty()) read_toml_config(*config, *file);
        for (const auto& [key, value] : *flags) set_config(*config, key, value, "--" + key);
        const auto summary = run_pretraining<float>(*config, [](const std::string& line) {
            fmt::print("{}\n", line);
            std::fflush(stdout);
        });
        fmt::print("{} tokens, model in {}\n", summary.tokens, summary.model);
    });
}

const RegisterVerb pretrain_registered(15, add_pretrain);

}  // namespace
