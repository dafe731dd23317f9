#pragma once
// What a run that goes on may change, and what it may not. Free are settings that change no bit of the result (on a GPU the
// cut into micro-batches changes some, and so does another model of GPU), and where
// files lie: what is in them is compared by SHA-256, and so is what the data is read as, which its file's name
// has a part in.

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include <moegrad/core/device_step.hpp>
#include <moegrad/data/record_kind.hpp>
#include <moegrad/train/input_files.hpp>
#include <moegrad/train/run_fields.hpp>

namespace moegrad {

/// Whether the cut of a step into micro-batches may be part of the result: a balance loss looks at them, or a router of
/// the user's own might.
inline bool cut_decides(const RunConfig& config) {
    const AdapterSpec& adapter = config.adapter;
    return adapter.by_name() ||
           (adapter.balance_loss() != BalanceLoss::none && adapter.penalties().per_micro_batch());
}

inline bool may_change_at_resume(std::string_view key, const RunConfig& config) {
    constexpr std::array paths{"model.path", "data.train", "data.eval", "output.dir"};
    constexpr std::array speed{"train.threads", "train.graphs"};
    constexpr std::array recomputing{"train.checkpointing"};
    constexpr std::array cut{"train.micro_batch", "train.accumulate"};
    constexpr std::array output{"log.every", "log.tensorboard", "checkpoint.every", "checkpoint.keep"};
    const auto in = [&](const auto& keys) { return std::find(keys.begin(), keys.end(), key) != keys.end(); };
    if (in(paths) || in(speed) || in(output)) return true;
    return config.device == Device::cpu && (in(recomputing) || (in(cut) && !cut_decides(config)));
}

/// Everything that decides the result of a run, for run_identity.hpp. Reads every input file.
inline std::string identity_of(const RunConfig& config) {
    std::string text;
    const auto line = [&](const std::string& key, const std::string& value) {
        text += format("{} = {}\n", key, printable(value, std::size_t{1} << 20));
    };
    DataOptions options;
    options.format = config.data_format;
    options.prompt = config.prompt;
    for (const auto& field : config_fields())
        if (!may_change_at_resume(field.key, config)) line(field.key, field.get(config));
    if (config.device == Device::cuda) line("gpu", device_name());
    for (const auto& file :
         input_files(config.model, config.train_data, config.eval_data, config.adapter.options)) {
        if (!file.decides()) continue;
        line(file.is_data() ? file.role + " sha256" : format("{} {} sha256", file.role, file.name()),
             file.sha256);
        if (file.is_data()) line(file.role + " format", data_kind(file.path, options));
    }
    return text;
}

/// `asked`: the settings of the run as config.toml has them, with the flags of now on top.
inline void require_resumable(const RunConfig& saved, const RunConfig& asked) {
    for (const auto& field : config_fields()) {
        const std::string before = field.get(saved), now = field.get(asked);
        if (before == now || may_change_at_resume(field.key, saved)) continue;
        throw Error{ErrorCode::config, format("--resume: {}", field.key),
                    "\"" + before + "\", as the run began", "\"" + now + "\"",
                    "it decides the result: leave it out, or start a new run"};
    }
}

}  // namespace moegrad
