#pragma once
// run_training: the whole of `moegrad train`: base checkpoint, adapter, text, steps, evaluation, saved adapter.
// Writes to output.dir: adapter/ (PEFT layout), config.toml (every key with its value), metrics.jsonl (one object per
// logged step). Progress goes to a callback, line by line.

#include <chrono>
#include <filesystem>
#include <string>

#include <moegrad/data/order.hpp>
#include <moegrad/data/text_records.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/progress.hpp>
#include <moegrad/train/run_config.hpp>
#include <moegrad/train/trainer.hpp>

namespace moegrad {

struct RunSummary {
    bool evaluated = false;                // whether there was held-out text
    double nll_before = 0, nll_after = 0;  // on it, per token
    double load = -1;                      // true experts per token on the held-out text after training
    std::string adapter;                   // folder
    double tokens_per_second = 0;          // in steps; by the clock, so it varies
};

struct TextData {
    Dataset train, eval;
};

/// A file of records (JSONL), by its name.
inline bool is_record_file(const std::string& path) {
    return path.ends_with(".jsonl");
}

/// The file as samples: a .jsonl of records, whose completions are supervised, or any other text as one sequence.
/// `begin` and `end`: the share of the file, of its records or of its characters.
inline Dataset load_samples(const RunConfig& config, const Tokenizer& tokenizer, const std::string& path,
                            double begin, double end) {
    const auto at = [](std::size_t size, double share) {
        return std::min(size, static_cast<std::size_t>(static_cast<double>(size) * share));
    };
    if (is_record_file(path)) {
        const auto records = read_text_records(path);
        Dataset samples;
        for (std::size_t i = at(records.size(), begin); i < at(records.size(), end); ++i)
            samples.push_back(record_sample(records[i], tokenizer, config.max_length, config.bos));
        return samples;
    }
    const MappedFile file(path);
    const std::string_view text = file.text();
    const auto boundary = [&](double share) {
        std::size_t cut = at(text.size(), share);
        while (cut > 0 && cut < text.size() && (text[cut] & 0xC0) == 0x80)
            --cut;  // not inside a UTF-8 character
        return cut;
    };
    std::vector<std::int32_t> prefix;
    if (config.bos) prefix.push_back(tokenizer.bos_id());
    const std::size_t from = boundary(begin);
    return text_samples(tokenizer.encode(text.substr(from, boundary(end) - from), {.add_special = false}),
                        config.max_length, prefix);
}

/// Without an evaluation file the end of the training file is kept aside.
inline TextData load_text_data(const RunConfig& config, const Tokenizer& tokenizer) {
    const bool held_out = config.eval_data.empty() && config.holdout > 0;
    const double cut = held_out ? 1 - config.holdout : 1;
    TextData data{load_samples(config, tokenizer, config.train_data, 0, cut), {}};
    if (held_out) data.eval = load_samples(config, tokenizer, config.train_data, cut, 1);
    if (!config.eval_data.empty()) data.eval = load_samples(config, tokenizer, config.eval_data, 0, 1);
    if (config.eval_samples > 0 && static_cast<Index>(data.eval.size()) > config.eval_samples) {
        data.eval.resize(static_cast<std::size_t>(config.eval_samples));
    }
    if (data.train.empty()) {
        throw Error{ErrorCode::data, config.train_data, "at least two tokens of text, or a record",
                    format("{} bytes", MappedFile(config.train_data).size()),
                    "data.holdout keeps the end of the file aside; give data.eval, or holdout 0"};
    }
    return data;
}

/// A line per kind of trainable parameter, and their share of the base.
template <class Real>
std::string trainable_table(Decoder<Real>& model) {
    struct Count {
        Index tensors = 0, values = 0;
    };
    std::map<std::string, Count> kinds;
    Index base = 0, trained = 0;
    for (auto* p : model.base_parameters()) base += p->size();
    for (auto* p : trainable_parameters(model)) {
        // The first that fits: a Mo-LoRA's router lies inside self_attn or mlp.
        std::string kind = "other";
        for (const char* part : {"router", "mlp.experts", "gate.", "gate2.", "self_attn", "mlp"}) {
            if (kind == "other" && p->name().find(part) != std::string::npos) kind = part;
        }
        ++kinds[kind].tensors;
        kinds[kind].values += p->size();
        trained += p->size();
    }
    std::string text;
    for (const auto& [kind, count] : kinds) {
        text += format("  {:<12} {:>4} tensors {:>12} parameters\n", kind, count.tensors, count.values);
    }
    return text + format("  trainable {} beside {} of the base ({:.2f} %)\n", trained, base,
                         100.0 * static_cast<double>(trained) / static_cast<double>(base));
}

namespace detail {

/// Steps whose load is always worth a line: ties of a fresh null-expert router break in the first few.
inline bool is_logged(Index step, Index last, Index every) {
    return step <= 2 || step == 5 || step == 10 || step == last || (every > 0 && step % every == 0);
}

inline void check_run(const RunConfig& config) {
    const auto require = [](const std::string& value, const char* key, const char* flag) {
        if (value.empty())
            throw Error{ErrorCode::config, key, "a value", "nothing", format("pass {} PATH", flag)};
    };
    require(config.model, "model.path", "--model");
    require(config.train_data, "data.train", "--data");
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
    std::error_code problem;
    std::filesystem::create_directories(config.output, problem);
    if (problem) {
        throw Error{ErrorCode::file, "output.dir", "a folder that can be written",
                    config.output + ": " + problem.message()};
    }
}

/// Results of an earlier run in the same folder would pass for results of this one.
inline bool remove_earlier_run(const std::string& folder) {
    std::uintmax_t removed = 0;
    for (const char* name : {"adapter", "eval", "metrics.jsonl", "report.html", "report_csv"}) {
        std::error_code problem;
        const std::uintmax_t count =
            std::filesystem::remove_all(std::filesystem::path(folder) / name, problem);
        if (!problem) removed += count;
    }
    return removed > 0;
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

/// Runs the configuration in number type Real. `say` gets every line of progress.
template <class Real, class Say>
RunSummary run_training(const RunConfig& config, Say say) {
    detail::check_run(config);
    auto model = load_model<Real>(config.model);
    const AdapterSpec spec = config.adapter_for(model->config());
    attach(*model, spec);
    model->activations = config.checkpointing ? Activations::recomputed : Activations::kept;
    const auto data = load_text_data(config, load_tokenizer(config.model));
    Context context({.device = Device::cpu, .threads = config.threads});
    const Index micro = config.micro_batch > 0 ? config.micro_batch : config.batch;
    Trainer<Real> trainer(
        context, *model, {"balance", "z"},
        {.adamw = config.adamw, .clip = config.clip, .micro_batch = micro, .seed = config.seed});
    SampleOrder order(static_cast<Index>(data.train.size()), config.batch, config.seed);
    const Index steps = config.steps > 0 ? config.steps : order.steps(config.epochs);
    say(format("{} on {}: {} samples, {} held out, {} steps of {} x {}\n{}", spec.method_name(), config.model,
               data.train.size(), data.eval.size(), steps, config.batch, config.max_length,
               trainable_table(*model)));

    if (detail::remove_earlier_run(config.output))
        say(format("{} held an earlier run: its adapter, metrics, scores and report are gone",
                   config.output));
    RunLog log(config, steps);
    RunSummary summary;
    const auto evaluate = [&](Index step) {
        std::map<std::string, RoutingTotals> routers;
        const double nll = trainer.evaluate(data.eval, &routers);
        say(log.evaluation(step, nll, mean_load(routers)));
        summary.load = mean_load(routers);
        summary.evaluated = true;
        return nll;
    };
    if (!data.eval.empty()) summary.nll_before = evaluate(0);
    for (Index n = 0; n < steps; ++n) {
        const std::map<std::string, double> coefficients{
            {"balance", config.balance_coefficient().at(order.epoch(n))}, {"z", config.z_coefficient}};
        const auto started = std::chrono::steady_clock::now();
        const auto report = trainer.step(data.train, order.step(n), config.rate.at(n, steps), coefficients);
        if (n == 0) detail::require_penalties(coefficients, report);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
        const std::string line = log.step(report, took.count());
        if (detail::is_logged(n, steps - 1, config.log_every)) say(line);
        if (config.eval_every > 0 && (n + 1) % config.eval_every == 0 && n + 1 < steps) evaluate(n + 1);
    }
    if (!data.eval.empty()) summary.nll_after = evaluate(steps);
    summary.adapter = config.output + "/adapter";
    save_adapter(*model, spec, summary.adapter);
    log.save();
    summary.tokens_per_second = log.tokens_per_second();
    return summary;
}

}  // namespace moegrad
