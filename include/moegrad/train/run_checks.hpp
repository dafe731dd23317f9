#pragma once
// What is checked before a run does anything, and before it replaces what an earlier one left.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include <moegrad/core/thread_pool.hpp>
#include <moegrad/train/run_config.hpp>
#include <moegrad/train/step_report.hpp>

namespace moegrad {

namespace detail {

/// Steps whose load is always worth a line: ties of a fresh null-expert router break in the first few.
inline bool is_logged(Index step, Index last, Index every) {
    return step <= 2 || step == 5 || step == 10 || step == last || (every > 0 && step % every == 0);
}

/// What can be said of the values alone.
inline void check_settings(const RunConfig& config) {
    const auto range = [](const char* key, double value, double low, double high) {
        if (value >= low && value <= high) return;
        throw Error{ErrorCode::config, key, format("{} to {}", low, high), format("{}", value)};
    };
    range("train.batch", static_cast<double>(config.batch), 1, 1e6);
    range("train.epochs", config.epochs, 0, 1e6);
    range("train.threads", config.threads, 0, kMaxThreads);
    range("data.holdout", config.holdout, 0, 0.99);
    range("data.max_length", static_cast<double>(config.max_length), 2, 1e7);
    range("adapter.r", static_cast<double>(config.adapter.lora.rank), 1, 1 << 16);
    range("adapter.lora_dropout", config.adapter.lora.dropout, 0, 0.99);
    range("optim.lr", config.rate.peak, 0, 1e3);
    range("optim.beta1", config.adamw.beta1, 0, 1 - 1e-9);
    range("optim.beta2", config.adamw.beta2, 0, 1 - 1e-9);
    range("optim.eps", config.adamw.epsilon, 1e-30, 1);
    range("optim.weight_decay", config.adamw.weight_decay, 0, 1e3);
    range("optim.clip", config.clip, 0, 1e9);
    range("checkpoint.keep", static_cast<double>(config.checkpoint_keep), 2, 1e6);
    range("eval.min_delta", config.min_delta, 0, 1e9);
    if (config.rate.decay > 0 && config.rate.shape != LearningRate::Shape::wsd) {
        throw Error{ErrorCode::config, "schedule.decay", "schedule.shape = wsd", "another shape",
                    "nobody would read it; leave it out"};
    }
    if (config.micro_batch > 0 && config.accumulate > 0) {
        throw Error{ErrorCode::config, "train.micro_batch and train.accumulate", "one of them",
                    format("{} and {}", config.micro_batch, config.accumulate)};
    }
}

inline void check_run(const RunConfig& config) {
    const auto require = [](const std::string& value, const char* key, const char* flag) {
        if (value.empty())
            throw Error{ErrorCode::config, key, "a value", "nothing", format("pass {} PATH", flag)};
    };
    require(config.model, "model.path", "--model");
    require(config.train_data, "data.train", "--data");
    check_settings(config);
    std::error_code problem;
    std::filesystem::create_directories(config.output, problem);
    if (problem) {
        throw Error{ErrorCode::file, "output.dir", "a folder that can be written",
                    config.output + ": " + problem.message()};
    }
}

/// Results of an earlier run in the same folder would pass for results of this one. A run that was not finished is not
/// thrown away: it has checkpoints and no adapter.
inline bool remove_earlier_run(const std::string& folder) {
    const std::filesystem::path root(folder);
    if (std::filesystem::exists(root / "checkpoints") && !std::filesystem::exists(root / "adapter")) {
        throw Error{ErrorCode::state, "output.dir", "a folder without an unfinished run", folder,
                    "--resume goes on with it; or remove its checkpoints/, or choose another output.dir"};
    }
    std::uintmax_t removed = 0;
    for (const char* name : {"adapter", "adapter-best", "checkpoints", "eval", "events", "manifest.json",
                             "metrics.jsonl", "report.html", "report_csv", "repro"}) {
        std::error_code problem;
        const std::uintmax_t count = std::filesystem::remove_all(root / name, problem);
        if (!problem) removed += count;
    }
    return removed > 0;
}

/// What asks for evaluations must get some.
inline void require_evaluations(const RunConfig& config, std::size_t samples) {
    if (!config.keep_best && config.patience == 0) return;
    if (samples > 0 && (config.patience == 0 || config.eval_every > 0)) return;
    throw Error{ErrorCode::config, config.patience > 0 ? "eval.patience" : "checkpoint.best",
                "held-out samples, and eval.every above 0 for eval.patience",
                format("{} samples, eval.every {}", samples, config.eval_every),
                "set eval.every, and data.eval or data.holdout"};
}

/// A coefficient that weighs nothing is a setting that nobody reads.
inline void require_penalties(const std::map<std::string, double>& coefficients, const StepReport& report) {
    for (const auto& [name, coefficient] : coefficients) {
        if (coefficient == 0 || report.penalties.count(name) > 0) continue;
        throw Error{ErrorCode::config, format("coefficient of \"{}\"", name), "a router with that penalty",
                    format("{} and no router that has it", coefficient),
                    "choose router.aux, or a model with routers"};
    }
}

}  // namespace detail

}  // namespace moegrad
