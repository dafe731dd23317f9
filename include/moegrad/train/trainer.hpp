#pragma once
// Trainer: one optimiser step at a time.
//     objective = 1/S sum_t nll[t]  +  sum_p c_p / U_p sum penalty_p
// S: supervised tokens of the whole step; U: its segments, valid tokens or micro-batches (PenaltyUnit). The whole step
// is known before it is cut into micro-batches, so the cut changes no bit (but for penalties of unit batch).
// A loss or gradient that is not finite stops the run before the update: the weights stay as they were.

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <moegrad/data/dataset.hpp>
#include <moegrad/methods/attach.hpp>
#include <moegrad/methods/model_routers.hpp>
#include <moegrad/ops/sum_squares.hpp>
#include <moegrad/ops/zero_block.hpp>
#include <moegrad/train/finite_check.hpp>
#include <moegrad/train/step_report.hpp>

namespace moegrad {

/// The samples of a step, micro-batch by micro-batch.
using MicroBatches = std::vector<std::vector<std::int32_t>>;

template <class Real>
class Trainer {
public:
    /// Trains what is trainable in `model`. `penalties`: the names that get a coefficient, in the order of the step
    /// scalars; a penalty of another name is logged and not trained on.
    Trainer(Context& context, Decoder<Real>& model, std::vector<std::string> penalties,
            const TrainerOptions& options)
        : context_(context),
          model_(model),
          penalties_(std::move(penalties)),
          options_(options),
          parameters_(trainable_parameters(model)) {
        if (parameters_.empty()) {
            throw Error{ErrorCode::config, "training", "at least one trainable parameter", "none",
                        "choose adapter.target, or router.mode = \"full\""};
        }
        if (static_cast<int>(penalties_.size()) >= kCoefficients) {
            throw Error{ErrorCode::config, "training", format("fewer than {} penalties", kCoefficients),
                        format("{}", penalties_.size())};
        }
        if (options_.micro_batch < 1) {
            throw Error{ErrorCode::config, "train.micro_batch", "at least 1",
                        format("{}", options_.micro_batch)};
        }
    }

    const std::vector<Parameter<Wide<Real>>*>& parameters() const { return parameters_; }
    NamedRouters<Real> routers() { return model_routers(model_); }
    ThreadPool& pool() { return context_.pool(); }
    Index steps_done() const { return steps_; }
    /// Goes on after `steps` steps that were taken before; weights and moments are the caller's to bring back.
    void resume_at(Index steps) { steps_ = steps; }
    /// Factors on the learning rate, one per parameter.
    void set_rate_ratios(std::vector<double> ratios) { rate_ratios_ = std::move(ratios); }

    /// One step on the samples `picks` of `data`, options.micro_batch at a time. coefficients: by penalty name.
    StepReport step(const Dataset& data, std::span<const std::int32_t> picks, double learning_rate,
                    const std::map<std::string, double>& coefficients = {}) {
        MicroBatches cuts;
        for (std::size_t i = 0; i < picks.size(); ++i) {
            if (i % static_cast<std::size_t>(options_.micro_batch) == 0) cuts.emplace_back();
            cuts.back().push_back(picks[i]);
        }
        return step(data, cuts, learning_rate, coefficients);
    }

    /// One step, cut as `cuts` says.
    StepReport step(const Dataset& data, const MicroBatches& cuts, double learning_rate,
                    const std::map<std::string, double>& coefficients = {}) {
        StepReport report;
        report.step = steps_;
        report.learning_rate = learning_rate;
        set_scalars(data, cuts, learning_rate, coefficients, report);
        for (auto* parameter : parameters_) parameter->forget_gradients();
        penalty_sums_.clear();
        trace_sums_.clear();
        double sum = 0;
        try {
            for (const auto& picks : cuts) run_micro_batch(make_batch(data, picks), report, sum);
        } catch (const Error& error) {
            // An op that cannot go on without numbers (top-k) stops first; a user can act on the weight.
            if (error.code == ErrorCode::value) require_finite_weights(context_, model_, parameters_, steps_);
            throw;
        }
        report.cross_entropy = sum / static_cast<double>(report.supervised);
        for (const auto& [name, routers] : penalty_sums_)
            report.penalties[name] = total(routers) / units_.at(name);
        for (const auto& [name, routers] : trace_sums_) {
            report.traces[name] =
                total(routers) / static_cast<double>(report.tokens) / static_cast<double>(routers.size());
        }
        update(report);
        tell_routers(report);
        ++steps_;
        return report;
    }

    /// Mean negative log likelihood per supervised token, no penalty, no dropout.
    double evaluate(const Dataset& data, std::map<std::string, RoutingTotals>* routers = nullptr) {
        double sum = 0;
        Index supervised = 0;
        for (std::size_t i = 0; i < data.size(); ++i) {
            const std::int32_t pick = static_cast<std::int32_t>(i);
            const Batch batch = make_batch(data, std::span(&pick, 1));
            Tape tape(context_, Mode::inference);
            Forward<Real> forward{tape, batch.token, batch.segments};
            const auto nll = model_.loss(forward, model_.hidden(forward), batch.target);
            for (auto value : nll.value().values()) sum += static_cast<double>(value);
            supervised += data[i].supervised();
            if (routers) count_routing(forward, *routers);
        }
        return supervised == 0 ? 0 : sum / static_cast<double>(supervised);
    }

private:
    void set_scalars(const Dataset& data, const MicroBatches& cuts, double learning_rate,
                     const std::map<std::string, double>& coefficients, StepReport& report) {
        for (const auto& [name, value] : coefficients) {
            if (coefficient_of(penalties_, name) < 0) {
                throw Error{ErrorCode::config, format("step {}", steps_),
                            "coefficients of the trainer's penalties", name};
            }
        }
        if (!std::isfinite(learning_rate)) {
            throw Error{ErrorCode::value, format("step {}", steps_), "a finite learning rate",
                        format("{}", learning_rate)};
        }
        micro_batches_ = static_cast<Index>(cuts.size());
        segments_ = 0;
        for (const auto& picks : cuts) {
            for (std::int32_t pick : picks) count_sample(data, pick, report);
            segments_ += static_cast<Index>(picks.size());
        }
        if (report.supervised == 0) {
            throw Error{ErrorCode::data, format("step {}", steps_),
                        segments_ == 0 ? "at least one sample" : "at least one supervised token",
                        format("{} samples with none", segments_)};
        }
        StepScalars& scalars = context_.scalars();
        scalars = {};
        scalars.seed = options_.seed;
        scalars.step = static_cast<std::uint64_t>(steps_);
        scalars.learning_rate = learning_rate;
        scalars.coefficient[0] = 1.0 / static_cast<double>(report.supervised);
        coefficients_ = coefficients;
    }

    void count_sample(const Dataset& data, std::int32_t pick, StepReport& report) const {
        if (pick < 0 || pick >= static_cast<Index>(data.size())) {
            throw Error{ErrorCode::data, format("sample {}", pick), format("one of {} samples", data.size()),
                        "no such sample"};
        }
        const Sample& sample = data[static_cast<std::size_t>(pick)];
        if (sample.supervised() == 0 && !options_.allow_masked) {
            throw Error{ErrorCode::data, format("sample {}", pick), "at least one supervised token", "none"};
        }
        report.tokens += static_cast<Index>(sample.token.size());
        report.supervised += sample.supervised();
    }

    double unit_size(PenaltyUnit unit, const StepReport& report) const {
        switch (unit) {
            case PenaltyUnit::sequence: return static_cast<double>(segments_);
            case PenaltyUnit::token: return static_cast<double>(report.tokens);
            case PenaltyUnit::batch: return static_cast<double>(micro_batches_);
        }
        return 1;
    }

    void run_micro_batch(const Batch& batch, StepReport& report, double& sum) {
        Tape tape(context_);
        Forward<Real> forward{tape, batch.token, batch.segments, {}, &penalties_};
        // A checkpointed layer seeds its penalties in backward: coefficients must stand before the first forward, and
        // a penalty's unit is known from its first value.
        const auto nll = model_.loss(forward, model_.hidden(forward), batch.target);
        for (auto value : nll.value().values()) sum += static_cast<double>(value);
        for (const auto& record : forward.routings) {
            for (const auto& penalty : record.routing.penalties) {
                units_[penalty.name] = unit_size(penalty.unit, report);
                add(penalty_sums_, penalty.name, record.name, penalty.value.value());
                const int index = coefficient_of(penalties_, penalty.name);
                if (index < 0) continue;
                const auto found = coefficients_.find(penalty.name);
                context_.scalars().coefficient[index] =
                    found == coefficients_.end() ? 0 : found->second / units_[penalty.name];
            }
        }
        count_routing(forward, report.routers);
        for (const auto& record : forward.routings) {
            for (const auto& trace : record.routing.traces)
                add(trace_sums_, trace.name, record.name, trace.value);
        }
        seed(tape, nll, 0);
        seed_penalties(forward);
        tape.backward();
    }

    static void count_routing(const Forward<Real>& forward, std::map<std::string, RoutingTotals>& routers) {
        for (const auto& record : forward.routings) {
            if (record.routing.stats.defined()) routers[record.name].add(record.routing.stats);
        }
    }

    /// Sums of a penalty or trace, one per router: over micro-batches only, so that the cut changes no bit.
    using RouterSums = std::map<std::string, std::map<std::string, double>>;

    template <class Value>
    static void add(RouterSums& sums, const std::string& name, const std::string& router,
                    const Tensor<Value>& values) {
        double& sum = sums[name][router];
        for (Value value : values.values()) sum += static_cast<double>(value);
    }
    static double total(const std::map<std::string, double>& routers) {
        double sum = 0;
        for (const auto& [router, value] : routers) sum += value;
        return sum;
    }

    /// Routers with state learn what the whole step did.
    void tell_routers(const StepReport& report) {
        for (const auto& [name, router] : routers()) {
            const auto found = report.routers.find(name);
            if (found != report.routers.end()) router->after_step(found->second);
        }
    }

    /// Global norm in the order of the parameters, clip, AdamW.
    void update(StepReport& report) {
        const Stream stream = context_.stream();
        for (auto* parameter : parameters_) {
            for (const Block& block : parameter->frozen_blocks()) {
                for (const auto& gradient : parameter->gradients()) {
                    if (gradient->written()) zero_block(stream, gradient->tensor(), block);
                }
            }
        }
        const auto squares = context_.template make<double>({1});
        double total = 0;
        for (auto* parameter : parameters_) {
            const GradientUses<Real> gradients(parameter->gradients());
            if (gradients.count == 0) continue;
            sum_squares(stream, gradients, squares.template view<1>());
            total += squares.data()[0];
        }
        report.gradient_norm = std::sqrt(total);
        require_finite_step(context_, model_, parameters_, report);
        const bool clips = options_.clip > 0 && report.gradient_norm > options_.clip;
        context_.scalars().clip_scale = clips ? options_.clip / report.gradient_norm : 1.0;
        for (std::size_t i = 0; i < parameters_.size(); ++i) {
            auto* parameter = parameters_[i];
            const GradientUses<Real> gradients(parameter->gradients());
            if (gradients.count == 0) continue;
            AdamWOptions adamw = options_.adamw;
            if (!rate_ratios_.empty()) adamw.rate_ratio = rate_ratios_.at(i);
            adamw_update(stream, gradients, parameter->value(), parameter->first_moment(),
                         parameter->second_moment(), adamw);
        }
    }

    Context& context_;
    Decoder<Real>& model_;
    std::vector<std::string> penalties_;
    TrainerOptions options_;
    std::vector<Parameter<Wide<Real>>*> parameters_;
    std::vector<double> rate_ratios_;  // empty: all 1
    Index steps_ = 0, segments_ = 0, micro_batches_ = 0;
    std::map<std::string, double> coefficients_, units_;
    RouterSums penalty_sums_, trace_sums_;
};

}  // namespace moegrad
