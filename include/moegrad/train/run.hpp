#pragma once
// run_training: the whole of `moegrad train`: base checkpoint, adapter, data, steps, evaluation, saved adapter.
// Writes to output.dir: adapter/ (PEFT layout), config.toml (every key with its value), metrics.jsonl (one object per
// step and evaluation; no clock in it), checkpoints/ while it goes. Progress goes to a callback, line by line.

#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>

#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/progress.hpp>
#include <moegrad/train/run_checks.hpp>
#include <moegrad/train/run_data.hpp>
#include <moegrad/train/run_fields.hpp>
#include <moegrad/train/run_state.hpp>
#include <moegrad/train/trainable_table.hpp>
#include <moegrad/train/trainer.hpp>

namespace moegrad {

struct RunSummary {
    bool evaluated = false;                // whether there was held-out text
    double nll_before = 0, nll_after = 0;  // on it, per token
    double load = -1;                      // true experts per token on the held-out text after training
    std::string adapter;                   // folder
    double tokens_per_second = 0;          // in steps; by the clock, so it varies
    bool interrupted = false;              // stopped by RunControl::stop; a checkpoint was saved
};

/// What is asked of a run from outside its configuration.
struct RunControl {
    bool resume = false;                      // go on from the newest checkpoint in output.dir
    const std::atomic<bool>* stop = nullptr;  // when it turns true, the run saves a checkpoint and ends
};

namespace detail {

/// One run, from its configuration to its adapter.
template <class Real, class Say>
class TrainingRun {
public:
    TrainingRun(const RunConfig& config, Say say, const RunControl& control)
        : config_(config),
          say_(std::move(say)),
          control_(control),
          model_(checked_model(config)),
          spec_(config.adapter_for(model_->config())),
          data_((attach(*model_, spec_), load_text_data(config, load_tokenizer(config.model)))),
          context_({.device = Device::cpu, .threads = config.threads}),
          trainer_(context_, *model_, {"balance", "z"},
                   {.adamw = config.adamw,
                    .clip = config.clip,
                    .micro_batch = config.per_micro_batch(),
                    .seed = config.seed}),
          order_(data_.train, config),
          steps_(config.steps > 0 ? config.steps : order_.steps(config.epochs)) {
        model_->activations = config.checkpointing ? Activations::recomputed : Activations::kept;
    }

    RunSummary run() {
        introduce();
        if (!control_.resume && remove_earlier_run(config_.output)) {
            say_(format("{} held an earlier run: its adapter, metrics, scores and report are gone",
                        config_.output));
        }
        // [seam: resume] resume_checkpoint(config_.output, trainer_, config hash, say_) into state_; trainer_.resume_at
        // [seam: manifest] before step 0
        RunLog log(config_.output, resolved_config(config_), steps_, state_);
        if (state_.step == 0 && !data_.eval.empty()) state_.nll_before = evaluate(log, 0);
        while (state_.step < steps_ && !interrupted()) {  // [seam: early stop]
            take_step(log);
            const Index done = state_.step;
            const bool due = config_.eval_every > 0 && done % config_.eval_every == 0;
            if (due && done < steps_ && !data_.eval.empty()) evaluate(log, done);
            if (interrupted() || (config_.checkpoint_every > 0 && done % config_.checkpoint_every == 0))
                save(log);
        }
        return state_.step < steps_ && interrupted() ? leave() : finish(log);
    }

private:
    static std::unique_ptr<Decoder<Real>> checked_model(const RunConfig& config) {
        check_run(config);
        return load_model<Real>(config.model);
    }

    void introduce() {
        say_(format("{} on {}: {} samples, {} held out, {} steps of {} x {}\n{}", spec_.method_name(),
                    config_.model, data_.train.size(), data_.eval.size(), steps_, config_.batch,
                    config_.max_length, trainable_table(*model_)));
    }

    bool interrupted() const { return control_.stop != nullptr && control_.stop->load(); }

    void take_step(RunLog& log) {
        const Index n = state_.step;
        const std::map<std::string, double> coefficients{
            {"balance", config_.balance_coefficient().at(order_.epoch(n))}, {"z", config_.z_coefficient}};
        const auto started = std::chrono::steady_clock::now();
        const auto report =
            trainer_.step(data_.train, order_.step(n), config_.rate.at(n, steps_), coefficients);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
        if (n == 0) require_penalties(coefficients, report);
        const std::string line = log.step(report, took.count());
        if (is_logged(n, steps_ - 1, config_.log_every)) say_(line);
        state_.step = n + 1;
    }

    /// On the held-out samples: cross entropy alone, no penalty, no dropout.
    double evaluate(RunLog& log, Index step) {
        std::map<std::string, RoutingTotals> routers;
        const double nll = trainer_.evaluate(data_.eval, &routers);
        say_(log.evaluation(step, nll, mean_load(routers)));
        load_ = mean_load(routers);
        state_.evaluated = true;
        // [seam: best so far] EarlyStop::update(state_, nll, step) and adapter-best/
        return nll;
    }

    void save(RunLog& log) {
        log.save();
        // [seam: checkpoint] save_checkpoint(config_.output, trainer_, state_, config hash, config_.checkpoint_keep)
    }

    RunSummary leave() {
        RunSummary summary;
        summary.interrupted = true;
        return summary;
    }

    RunSummary finish(RunLog& log) {
        RunSummary summary;
        if (!data_.eval.empty()) summary.nll_after = evaluate(log, state_.step);
        summary.evaluated = state_.evaluated;
        summary.nll_before = state_.nll_before;
        summary.load = load_;
        summary.adapter = config_.output + "/adapter";
        save_adapter(*model_, spec_, summary.adapter);
        log.save();
        summary.tokens_per_second = log.tokens_per_second();
        // [seam: manifest] seal
        return summary;
    }

    const RunConfig& config_;
    Say say_;
    RunControl control_;
    std::unique_ptr<Decoder<Real>> model_;
    AdapterSpec spec_;
    TextData data_;
    Context context_;
    Trainer<Real> trainer_;
    StepOrder order_;
    Index steps_;
    RunState state_;
    double load_ = -1;  // of the last evaluation
};

}  // namespace detail

/// Runs the configuration in number type Real. `say` gets every line of progress.
template <class Real, class Say>
RunSummary run_training(const RunConfig& config, Say say, const RunControl& control = {}) {
    return detail::TrainingRun<Real, Say>(config, std::move(say), control).run();
}

}  // namespace moegrad
