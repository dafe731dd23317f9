#pragma once
// run_training: the whole of `moegrad train`: base checkpoint, adapter, data, steps, evaluation, saved adapter.
// Writes to output.dir: adapter/ (PEFT layout), config.toml (every key with its value), metrics.jsonl (one object per
// step and evaluation; no clock in it), manifest.json (what went in and what came out), checkpoints/ while it goes; where
// asked for, adapter-best/ and events/ (TensorBoard). Progress goes to a callback, line by line.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/best_adapter.hpp>
#include <moegrad/train/checkpoint.hpp>
#include <moegrad/train/early_stop.hpp>
#include <moegrad/train/gradient_watch.hpp>
#include <moegrad/train/parameter_groups.hpp>
#include <moegrad/train/penalty_coefficients.hpp>
#include <moegrad/train/progress.hpp>
#include <moegrad/train/resume_rules.hpp>
#include <moegrad/train/run_control.hpp>
#include <moegrad/train/run_fields.hpp>
#include <moegrad/train/run_model.hpp>
#include <moegrad/train/run_record.hpp>
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
    double step_seconds = 0;               // mean of a step, by the clock
    std::size_t peak_bytes = 0;            // of all tensors at most: weights, gradients, moments, a step
    bool interrupted = false;              // stopped by RunControl::stop; a checkpoint was saved
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
          spec_(checked_adapter(config)),
          data_(load_run_data(config)),
          model_(load_adapted<Real>(config, spec_)),
          context_({.device = config.device, .threads = config.threads}),
          trainer_(context_, *model_, penalty_names(*model_),
                   {.adamw = config.adamw,
                    .clip = config.clip,
                    .micro_batch = config.per_micro_batch(),
                    .seed = config.seed,
                    .graphs = config.graphs}),
          order_(data_.train, config),
          steps_(config.steps > 0 ? config.steps : order_.steps(config.epochs)),
          coefficients_(config, *model_) {
        model_->activations = config.checkpointing ? Activations::recomputed : Activations::kept;
        std::vector<std::string> names;
        for (const auto* parameter : trainer_.parameters()) names.push_back(parameter->name());
        trainer_.set_rate_ratios(ParameterGroups::parse(config.rates).ratios(names));
    }

    RunSummary run() {
        if (control_.resume && is_finished(config_.output)) return nothing_to_do();
        introduce();
        reserve_memory<Real>(context_, config_, model_->config(), data_, order_, steps_, say_);
        checkpoints_.emplace(config_.output);
        if (config_.checkpoint_every > 0 || control_.resume) require_states<Real>(trainer_.routers());
        if (!control_.resume && remove_earlier_run(config_.output, control_.replace)) {
            say_(format("{} held an earlier run: its adapter, metrics, scores and report are gone",
                        config_.output));
        }
        if (control_.resume) resume();
        open_record();
        try {
            return train();
        } catch (const std::exception& error) {
            record_->seal_failed(state_, error);
            throw;
        }
    }

private:
    RunSummary train() {
        RunLog log(config_.output, resolved_config(config_), steps_, state_);
        if (state_.step == 0 && !data_.eval.empty()) state_.nll_before = evaluate(log, 0);
        bool leaving = interrupted();  // asked once and kept: whoever leaves has nothing in flight
        while (state_.step < steps_ && !leaving && !stopped_early()) {
            take_step(log);
            leaving = interrupted();
            while (leaving && trainer_.in_flight() > 0) take_report(log);
            const Index done = state_.step;
            const bool due = config_.eval_every > 0 && done % config_.eval_every == 0;
            if (due && done < steps_ && !data_.eval.empty()) evaluate(log, done);
            leaving = leaving || (trainer_.in_flight() == 0 && interrupted());
            if (leaving || (config_.checkpoint_every > 0 && done % config_.checkpoint_every == 0)) save(log);
        }
        return state_.step < steps_ && !stopped_early() && leaving ? leave(log) : finish(log);
    }

    void introduce() {
        const TrainableCount count = count_trainable(*model_);
        require_trainable(count, spec_);
        require_evaluations(config_, data_.eval.size());
        say_(format("{} on {}: {} samples, {} held out, {} steps of {} x {}\n{}", spec_.method_name(),
                    config_.model, data_.train.size(), data_.eval.size(), steps_, config_.batch,
                    config_.max_length, trainable_table(count)));
        for (const std::string& note : data_.notes) say_(note);
        if (spec_.penalties().per_micro_batch())
            say_(
                "the balance loss looks at micro-batches: how a step is cut into them is part of the result");
    }

    /// config.toml first: it tells the folder of a run, also of one that is killed here.
    void open_record() {
        write_file_atomically(config_.output + "/config.toml", resolved_config(config_));
        const ModelConfig& base = model_->config();
        record_.emplace(config_, context_.pool().size(),
                        base.is_mixture() ? base.num_local_experts : spec_.most_experts(), control_.resume,
                        state_.step);
        const std::string warning = attention_only_warning(count_trainable(*model_));
        if (!warning.empty()) say_(record_->warning(warning));
        for (const auto& one : doubtful_settings(config_, data_.train, model_->config(), steps_))
            say_(record_->warning(one));
        for (const auto& one : router_cautions(*model_)) say_(record_->warning(one));
        watch_.emplace(trainer_.parameters());
    }

    /// What the loss does not reach is said once, before anybody waits for it.
    void report_zero_gradients(Index n) {
        const ZeroGradients zero = watch_->after_step(n);
        const std::string text = zero.text(n);
        if (!text.empty()) say_(zero.whole > 0 ? record_->warning(text) : text);
    }

    EarlyStop early_stop() const { return {config_.patience, config_.min_delta}; }
    bool stopped_early() const { return state_.step < steps_ && early_stop().stop(state_); }
    bool interrupted() const { return control_.stop != nullptr && control_.stop->load(); }
    /// Begins as many steps as may be in flight, up to the next evaluation or checkpoint, and waits for the oldest. The
    /// first two go alone, for report_zero_gradients.
    void take_step(RunLog& log) {
        const Index depth = state_.step < 2 ? 1 : trainer_.depth();
        const Index stop = next_stop(state_.step, steps_, {config_.eval_every, config_.checkpoint_every});
        while (trainer_.in_flight() < depth && state_.step + trainer_.in_flight() < stop) begin_step();
        take_report(log);
    }
    std::map<std::string, double> coefficients(Index n) { return coefficients_.at(order_.epoch(n)); }
    void begin_step() {
        const Index n = state_.step + trainer_.in_flight();
        if (trainer_.in_flight() == 0) clock_ = std::chrono::steady_clock::now();
        trainer_.begin_step(data_.train, order_.step(n), config_.rate.at(n, steps_), coefficients(n));
    }
    void take_report(RunLog& log) {
        const Index n = state_.step;
        const StepReport report = *trainer_.finish_step();
        const auto now = std::chrono::steady_clock::now();
        const std::chrono::duration<double> took = now - std::exchange(clock_, now);
        if (n == 0) require_penalties(coefficients(n), report);
        const std::string line = log.step(report, took.count());
        record_->step(report, log.tokens_per_second());
        if (is_logged(n, steps_ - 1, config_.log_every)) say_(line);
        report_zero_gradients(n);
        state_.step = n + 1;
    }

    /// On the held-out samples: cross entropy alone, no penalty, no dropout.
    double held_out() {
        std::map<std::string, RoutingTotals> routers;
        const double nll = trainer_.evaluate(data_.eval, &routers);
        load_ = mean_load(routers);
        return nll;
    }

    double evaluate(RunLog& log, Index step) {
        const double nll = held_out();
        if (!std::isfinite(nll)) {
            throw Error{ErrorCode::value, format("evaluation after step {}", step), "a finite held-out nll",
                        format("{}", nll), "the training loss was finite until here; lower optim.lr"};
        }
        say_(log.evaluation(step, nll, load_));
        record_->evaluation(step, nll, load_);
        state_.evaluated = true;
        if (early_stop().update(state_, nll, step) && config_.keep_best)
            save_best_adapter(*model_, spec_, config_.output);
        return nll;
    }

    void save(RunLog& log) {
        log.save();
        save_checkpoint(*checkpoints_, trainer_, state_, identity(),
                        static_cast<int>(config_.checkpoint_keep));
        saved_ = state_.step;
    }

    void resume() {
        const auto state = resume_checkpoint(*checkpoints_, trainer_, identity(), say_);
        if (state) state_ = *state;
        say_(state ? format("{} goes on after step {}", config_.output, state_.step)
                   : format("{} has no checkpoint yet: from the start", config_.output));
    }

    /// What decides the result; the input files are read once.
    const std::string& identity() {
        if (identity_.empty()) identity_ = identity_of(config_);
        return identity_;
    }

    /// Of a run that has ended well: its results stay as they are.
    RunSummary nothing_to_do() {
        say_(format("{} is finished: nothing to do", config_.output));
        RunSummary summary;
        summary.adapter = config_.output + "/adapter";
        return summary;
    }

    RunSummary leave(RunLog& log) {
        RunSummary summary;
        if (state_.step > 0 && saved_ != state_.step) save(log);
        summary.interrupted = true;
        record_->seal({.exit_status = 130, .stopped = "interrupted", .state = state_});
        return summary;
    }

    RunSummary finish(RunLog& log) {
        RunSummary summary;
        const std::string stopped = stopped_early() ? early_stop().reason(state_) : "";
        if (!stopped.empty()) say_(format("stopped after {} of {} steps: {}", state_.step, steps_, stopped));
        summary.adapter = config_.output + "/adapter";
        save_adapter(*model_, spec_, summary.adapter);
        // The evaluation that stopped the run was its last: it is in metrics.jsonl already.
        if (!data_.eval.empty())
            summary.nll_after = stopped.empty() ? evaluate(log, state_.step) : held_out();
        if (config_.keep_best)
            say_(format("best held-out nll {:.4f} at step {}: {}/adapter-best", state_.best, state_.best_step,
                        config_.output));
        summary.evaluated = state_.evaluated;
        summary.nll_before = state_.nll_before;
        summary.load = load_;
        log.save();
        summary.tokens_per_second = log.tokens_per_second();
        if (state_.step > 0) summary.step_seconds = state_.seconds / static_cast<double>(state_.step);
        summary.peak_bytes = Buffer::lasting_bytes(config_.device) + context_.arena().reach();
        if (config_.device == Device::cuda) say_(device_use_text(trainer_.use()));
        record_->seal({.stopped = stopped,
                       .state = state_,
                       .evaluated = state_.evaluated,
                       .nll_after = summary.nll_after});
        return summary;
    }

    const RunConfig& config_;
    Say say_;
    RunControl control_;
    AdapterSpec spec_;
    TextData data_;
    std::unique_ptr<Decoder<Real>> model_;
    Context context_;
    Trainer<Real> trainer_;
    StepOrder order_;
    Index steps_;
    PenaltyCoefficients coefficients_;
    RunState state_;
    std::optional<RunRecord> record_;
    std::optional<GradientWatch<Real>> watch_;
    std::optional<CheckpointFolder> checkpoints_;  // keeps other writers out while the run goes
    std::string identity_;
    std::chrono::steady_clock::time_point clock_;  // when the step in hand began, or the one before it ended
    Index saved_ = -1;                             // step of the last checkpoint of this process
    double load_ = -1;                             // of the last evaluation
};

}  // namespace detail

/// Runs the configuration in number type Real. `say` gets every line of progress.
template <class Real, class Say>
RunSummary run_training(const RunConfig& config, Say say, const RunControl& control = {}) {
    return detail::TrainingRun<Real, Say>(config, std::move(say), control).run();
}

}  // namespace moegrad
