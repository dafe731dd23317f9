#pragma once
// What is checked before a run does anything, and before it replaces what an earlier one left.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/core/device_memory.hpp>
#include <moegrad/core/model_config.hpp>
#include <moegrad/core/thread_pool.hpp>
#include <moegrad/data/dataset.hpp>
#include <moegrad/methods/adapter_spec.hpp>
#include <moegrad/train/run_config.hpp>
#include <moegrad/train/step_report.hpp>

namespace moegrad {

namespace detail {

/// Steps whose load is always worth a line: ties of a fresh null-expert router break in the first few.
inline bool is_logged(Index step, Index last, Index every) {
    return step <= 2 || step == 5 || step == 10 || step == last || (every > 0 && step % every == 0);
}

/// Which number types a device computes in.
inline void check_device(Device device, Number dtype) {
    const bool fits = device == Device::cuda ? dtype != Number::float64 : dtype != Number::bfloat16;
    if (device == Device::cuda) require_cuda("train.device");
    if (fits) return;
    throw Error{ErrorCode::config, "model.dtype",
                device == Device::cuda ? "float32 or bfloat16 on a GPU" : "float32 or float64 on the CPU",
                name(dtype)};
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

/// What a run writes and the next one replaces.
inline constexpr const char* kRunParts[] = {"adapter",    "adapter-best",  "checkpoints",   "eval",
                                            "events",     "manifest.json", "metrics.jsonl", "report.html",
                                            "report_csv", "repro"};

/// A run that was not finished is not thrown away: it has checkpoints and no `result` (adapter, model). Nor is a finished
/// one, unless that was asked for; nor what is no run at all.
inline void require_free_output(const std::string& folder, const char* result, bool replace) {
    const std::filesystem::path root(folder);
    const auto has = [&](const char* name) { return std::filesystem::exists(root / name); };
    const bool is_run = has("config.toml") && (has("metrics.jsonl") || has("manifest.json"));
    const auto refuse = [&](const std::string& expected, const std::string& got, const char* hint) {
        throw Error{ErrorCode::state, format("output.dir {}", folder), expected, got, hint};
    };
    for (const char* name : kRunParts) {
        if (!is_run && has(name))
            refuse("a new folder, or that of a run", format("{} that no run of moegrad wrote", name),
                   "choose another --out: nothing of it is touched");
    }
    if (has("checkpoints") && !has(result))
        refuse("a folder without an unfinished run", "checkpoints of one",
               "--resume goes on with it; or remove its checkpoints/, or choose another --out");
    if (has(result) && !replace)
        refuse("a folder without a finished run", std::string(result) + "/ of one",
               "choose another --out; --replace gives this one up");
}

/// The base and the data must not lie where the run writes.
inline void refuse_inputs_in_output(const RunConfig& config) {
    const auto real = [](const std::string& path) {
        std::error_code problem;
        return std::filesystem::weakly_canonical(path, problem);
    };
    const auto root = real(config.output);
    for (const auto& [key, path] : {std::pair{"model.path", config.model},
                                    {"data.train", config.train_data},
                                    {"data.eval", config.eval_data}}) {
        if (path.empty()) continue;
        const auto input = real(path);
        bool inside = input == root;
        for (const char* name : kRunParts) {
            const auto part = root / name;
            for (auto at = input; !inside && at.has_relative_path(); at = at.parent_path())
                inside = at == part;
        }
        if (inside)
            throw Error{ErrorCode::config, "output.dir", format("a folder that does not hold {}", key), path,
                        "the run would write over it: choose another --out"};
    }
}

/// Results of an earlier run in the same folder would pass for results of this one.
inline bool remove_earlier_run(const std::string& folder, bool replace) {
    require_free_output(folder, "adapter", replace);
    std::uintmax_t removed = 0;
    for (const char* name : kRunParts) {
        const auto path = std::filesystem::path(folder) / name;
        std::error_code problem;
        const std::uintmax_t count = std::filesystem::remove_all(path, problem);
        if (problem) throw Error{ErrorCode::file, path.string(), "to be removed", problem.message()};
        removed += count;
    }
    return removed > 0;
}

inline void check_run(const RunConfig& config) {
    const auto require = [](const std::string& value, const char* key, const char* flag) {
        if (value.empty())
            throw Error{ErrorCode::config, key, "a value", "nothing", format("pass {} PATH", flag)};
    };
    require(config.model, "model.path", "--model");
    require(config.train_data, "data.train", "--data");
    check_settings(config);
    check_device(config.device, config.dtype);
    refuse_inputs_in_output(config);
    std::error_code problem;
    std::filesystem::create_directories(config.output, problem);
    if (problem) {
        throw Error{ErrorCode::file, "output.dir", "a folder that can be written",
                    config.output + ": " + problem.message()};
    }
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

/// A rank of the experts' adapters that is no whole number of 16 bytes in bf16, and so leaves the tensor cores' fast path;
/// 0: there is none. w1 and w3 run as one of twice the rank.
inline Index slow_expert_rank(const AdapterSpec& spec) {
    const auto slow = [](Index rank, bool twice) { return (twice ? 2 * rank : rank) % 8 != 0; };
    for (const AdapterPlace& place : spec.places) {
        if (place.path.find(".experts") == std::string::npos) continue;
        if (slow(place.rank, place.path.ends_with(".w1"))) return place.rank;
    }
    if (!spec.places.empty()) return 0;
    for (const std::string& target : spec.targets) {
        const bool fused = target == "all" || target.starts_with("experts"),
                   twice = target == "w1" || target == "w3";
        if (!fused && !twice && target != "w2") continue;
        const bool own = spec.gate_up_rank > 0 && target == "experts.gate_up";
        if (!own && slow(spec.lora.rank, twice)) return spec.lora.rank;
        if (fused && target != "experts.down" && slow(spec.gate_up_rank, false)) return spec.gate_up_rank;
    }
    return 0;
}

/// Settings that are read and yet cannot do what they say.
inline std::vector<std::string> doubtful_settings(const RunConfig& config, const Dataset& data,
                                                  const ModelConfig& model, Index steps) {
    std::vector<std::string> all;
    std::size_t longest = 0;
    for (const Sample& sample : data) longest = std::max(longest, sample.token.size());
    if (static_cast<Index>(longest) > model.max_position_embeddings)
        all.push_back(format("a sample has {} tokens; the model was made for {}", longest,
                             model.max_position_embeddings));
    const Index warmup = config.rate.warmup;
    if (warmup > 0 && warmup >= steps)
        all.push_back(
            format("schedule.warmup of {} in a run of {} steps: optim.lr is not reached", warmup, steps));
    if (config.rate.decay > std::max<Index>(0, steps - warmup))
        all.push_back(
            format("schedule.decay of {} in a run of {} steps: it begins at once", config.rate.decay, steps));
    const bool cores =
        config.device == Device::cuda && config.dtype == Number::bfloat16 && model.is_mixture();
    if (const Index rank = cores ? slow_expert_rank(config.adapter_for(model)) : 0; rank > 0)
        all.push_back(format(
            "adapter.r = {}: on the experts, ranks that are multiples of 8 run several times faster on "
            "this GPU",
            rank));
    return all;
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
