#pragma once
// The keys of a RunConfig as flags: `train` and `estimate` take the same.

#include <CLI/CLI.hpp>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device_flags.hpp"
#include "toml_config.hpp"
#include "verbs.hpp"

namespace moegrad {

/// Keys and values in the order of the command line.
using RunFlags = std::vector<std::pair<std::string, std::string>>;

/// A flag for every key, the commonest also by a short name.
inline std::shared_ptr<RunFlags> add_run_flags(CLI::App& verb) {
    auto flags = std::make_shared<RunFlags>();
    const RunConfig usual;
    const std::map<std::string, std::string> shorter{
        {"model.path", ",--model"},    {"data.train", ",--data"},        {"adapter.method", ",--method"},
        {"data.eval", ",--eval-data"}, {"data.template", ",--template"}, {"data.format", ",--format"},
        {"train.steps", ",--steps"},   {"train.batch", ",--batch"},      {"train.threads", ",--threads"},
        {"train.device", ",--device"}, {"train.seed", ",--seed"},        {"optim.lr", ",--lr"},
        {"output.dir", ",--out"},      {"model.dtype", ",--dtype"},      {"model.quantise", ",--quantise"}};
    for (const auto& field : config_fields()) {
        const std::string key = field.key;
        const auto alias = shorter.find(key);
        const std::string value = field.get(usual);
        verb.add_option_function<std::string>(
                "--" + key + (alias == shorter.end() ? "" : alias->second),
                [flags, key](const std::string& text) {
                    require_value("--" + key, text);
                    flags->emplace_back(key, text);
                },
                field.help + (value.empty() ? std::string() : " [" + value + "]"))
            ->type_name("");
    }
    return flags;
}

/// The number type that nobody gave: on a GPU as the checkpoint is stored. The settings of the run then hold it.
inline void settle_number(RunConfig& config) {
    if (config.dtype_given || config.device != Device::cuda || config.model.empty()) return;
    config.dtype = stored_number(config.model);
    config.dtype_given = true;
}

/// `config`, then what the TOML file says, when there is one, then the flags.
inline RunConfig run_config(RunConfig config, const std::string& file, const RunFlags& flags) {
    if (!file.empty()) read_toml_config(config, file);
    for (const auto& [key, value] : flags) set_config(config, key, value, "--" + key);
    return config;
}

}  // namespace moegrad
