#pragma once
// Trainer: one optimiser step at a time.
//     objective = 1/S sum_t nll[t]  +  sum_p c_p / U_p sum penalty_p
// S: supervised tokens of the whole step; U: its segments, valid tokens or micro-batches (PenaltyUnit). The whole step
// is known before it is cut into micro-batches, so on the CPU the cut changes no bit (but for penalties of unit batch).
// A loss or gradient that is not finite blocks the update: the weights stay as they were.
//
//     begin_step  asks for all of a step: micro-batches, update, the way of its results to the host
//     finish_step reads the results of the oldest step that was begun, and throws if it was blocked
//     step        both
// On a GPU `begin_step` returns while the device works, and may be called once more before `finish_step` (depth()): the
// device always has a next step, the host never waits for the one it has just begun. A step that is begun behind a blocked
// one is blocked too. Micro-batches are padded to few shapes (data/step_batches.hpp), recorded and replayed
// (recorded_steps.hpp); without recording they run in the same shapes and with the same bits.

#include <cmath>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/data/dataset.hpp>
#include <moegrad/methods/attach.hpp>
#include <moegrad/methods/model_routers.hpp>
#include <moegrad/nn/balance_pool.hpp>
#include <moegrad/train/evaluate_nll.hpp>
#include <moegrad/train/finite_check.hpp>
#include <moegrad/train/penalty_scales.hpp>
#include <moegrad/train/recorded_steps.hpp>
#include <moegrad/train/step_fetch.hpp>
#include <moegrad/train/step_size.hpp>
#include <moegrad/train/step_update.hpp>

namespace moegrad {

template <class Real>
class Trainer {
public:
    /// Trains what is trainable in `model`. penalties: those with a coefficient, by step scalar; others are only logged.
    Trainer(Context& context, Decoder<Real>& model, std::vector<std::string> penalties,
            const TrainerOptions& options)
        : context_(context),
          model_(model),
          options_(options),
          learns_(learning_routers(model_routers(model), on_gpu() && options.graphs)),
          parameters_(checked(model, context.device(), options)),
          scales_(std::move(penalties)),
          sums_(context.device()),
          update_(parameters_, options, context.device()),
          recorded_(context) {
        for (auto& fetch : fetches_) fetch = std::make_unique<StepFetch>(context.device());
        if (on_gpu()) start_clean();
    }
    Trainer(const Trainer&) = delete;
    Trainer& operator=(const Trainer&) = delete;
    /// The model must still be there: its gradients become what they were.
    ~Trainer() {
        try {
            if (on_gpu()) accumulate_from_zero(false);
        } catch (const Error&) {
            return;  // the device is lost
        }
    }

    const std::vector<Parameter<Wide<Real>>*>& parameters() const { return parameters_; }
    NamedRouters<Real> routers() { return model_routers(model_); }
    ThreadPool& pool() { return context_.pool(); }
    Device device() const { return context_.device(); }
    Index steps_done() const { return steps_; }  // and finished
    /// Goes on after `steps` steps that were taken before; weights and moments are the caller's to bring back.
    void resume_at(Index steps) { steps_ = steps; }
    /// Factors on the learning rate, one per parameter.
    void set_rate_ratios(std::vector<double> ratios) { update_.set_rate_ratios(std::move(ratios)); }

    /// Steps begun and not finished, and how many there may be: a router that learns must hear of each before the next.
    Index in_flight() const { return static_cast<Index>(pending_.size()); }
    Index depth() const { return on_gpu() && !learns_.any ? 2 : 1; }

    /// One step on the samples `picks` of `data`, options.micro_batch at a time. coefficients: by penalty name.
    StepReport step(const Dataset& data, std::span<const std::int32_t> picks, double learning_rate,
                    const std::map<std::string, double>& coefficients = {}) {
        return step(data, micro_batches(picks, options_.micro_batch), learning_rate, coefficients);
    }
    /// One step, cut as `cuts` says.
    StepReport step(const Dataset& data, const MicroBatches& cuts, double learning_rate,
                    const std::map<std::string, double>& coefficients = {}) {
        begin_step(data, cuts, learning_rate, coefficients);
        while (in_flight() > 1) finish_step();
        return *finish_step();
    }

    void begin_step(const Dataset& data, const MicroBatches& cuts, double learning_rate,
                    const std::map<std::string, double>& coefficients = {}) {
        if (in_flight() >= depth()) {
            throw Error{ErrorCode::state, "begin_step", format("fewer than {} steps in flight", depth()),
                        format("{}", in_flight()), "call finish_step first"};
        }
        const DeviceCounts before = device_counts();
        Pending pending;
        pending.report.step = steps_ + in_flight();
        pending.size = step_size(data, cuts, options_.allow_masked, pending.report.step);
        if (on_gpu()) require_ids(data, cuts, model_.config().vocab_size);
        pending.report.learning_rate = learning_rate;
        pending.report.tokens = pending.size.tokens;
        pending.report.supervised = pending.size.supervised;
        set_scalars(pending, coefficients);
        try {
            run(data, cuts);
        } catch (const Error& error) {
            if (on_gpu()) start_clean();  // the step in front was begun whole: finish_step still tells of it
            // An op that cannot go on without numbers (top-k) stops first; a user can act on the weight.
            if (error.code == ErrorCode::value)
                require_finite_weights(context_, model_, parameters_, pending.report.step);
            throw;
        }
        pending.fetch = fetches_[static_cast<std::size_t>(pending.report.step % 2)].get();
        pending.fetch->start(update_.report(), sums_.sums(), sums_.counts());
        pending.calls = device_counts() - before;
        const bool changed = recorded_.take_changed();
        pending.steady = ++begun_ > 2 && !changed;
        pending_.push_back(std::move(pending));
    }

    /// Of the oldest step in flight, nothing where there is none.
    std::optional<StepReport> finish_step() {
        if (pending_.empty()) return std::nullopt;
        const DeviceCounts before = device_counts();
        Pending pending = std::move(pending_.front());
        pending_.pop_front();
        pending.fetch->wait();
        read(pending);
        if (pending.fetch->report(kClipBlocked) != 0) stop(pending);
        tell_routers(routers(), pending.report);
        ++steps_;
        pending.calls = pending.calls + (device_counts() - before);
        if (pending.steady) use_.add(pending.calls);
        return std::move(pending.report);
    }

    /// Mean negative log likelihood per supervised token, no penalty, no dropout.
    double evaluate(const Dataset& data, std::map<std::string, RoutingTotals>* routers = nullptr) {
        return evaluate_nll(context_, model_, data,
                            context_.target() == Device::cuda ? options_.micro_batch : 1, routers);
    }

    /// Whether steps are recorded, and what they ask of the system once they are.
    const DeviceUse& use() {
        use_.graphs = recorded_.count();
        use_.plain = on_gpu() && !(records() && recorded_.possible());
        return use_;
    }

private:
    struct Pending {
        StepSize size;
        StepReport report = {};
        StepFetch* fetch = nullptr;
        DeviceCounts calls = {};
        bool steady = false;
    };

    using Parameters = std::vector<Parameter<Wide<Real>>*>;

    static Parameters checked(Decoder<Real>& model, Device device, const TrainerOptions& options) {
        auto parameters = trainable_parameters(model);
        if (parameters.empty()) {
            throw Error{ErrorCode::config, "training", "at least one trainable parameter", "none",
                        "choose adapter.target, or router.mode = \"full\""};
        }
        if (options.micro_batch < 1) {
            throw Error{ErrorCode::config, "train.micro_batch", "at least 1",
                        format("{}", options.micro_batch)};
        }
        if (device == Device::cuda) require_on_gpu(model);
        return parameters;
    }

    bool on_gpu() const { return context_.device() == Device::cuda; }
    /// What a learning router holds on the host would be recorded as it was.
    bool records() const { return on_gpu() && options_.graphs && !learns_.out_of_sight; }
    /// A recorded micro-batch adds to the gradients unless it is a step's first: they begin at zero, and the update leaves zero
    /// behind, also in those that a step does not write.
    void accumulate_from_zero(bool accumulate) {
        for (auto* parameter : parameters_) {
            parameter->set_accumulates(accumulate);
            for (const auto& gradient : parameter->gradients()) clear(gradient->tensor());
        }
    }

    void set_scalars(Pending& pending, const std::map<std::string, double>& coefficients) {
        const double learning_rate = pending.report.learning_rate;
        if (!std::isfinite(learning_rate)) {
            throw Error{ErrorCode::value, format("step {}", pending.report.step), "a finite learning rate",
                        format("{}", learning_rate)};
        }
        StepScalars& scalars = context_.scalars();
        scalars = {};
        scalars.seed = options_.seed;
        scalars.step = static_cast<std::uint64_t>(pending.report.step);
        scalars.learning_rate = learning_rate;
        scalars.coefficient[0] = 1.0 / static_cast<double>(pending.size.supervised);
        pending.report.coefficients = scales_.set(coefficients, pending.size, scalars);
    }

    void run(const Dataset& data, const MicroBatches& cuts) {
        sums_.clear();
        if (context_.target() == Device::cuda) {
            inputs_.send(data, cuts, context_.device());
            for (std::size_t i = 0; i < inputs_.count(); ++i) {
                const auto body = [this, i](const Batch& batch) { micro_batch(batch, i == 0); };
                recorded_.keep_for({sums_.moves(), lists_});
                records() ? recorded_.micro_batch(inputs_, i, body) : body(inputs_.batch(i));
            }
        } else {
            for (auto* parameter : parameters_) parameter->forget_gradients();
            for (const auto& picks : cuts) micro_batch(make_batch(data, picks), false);
        }
        lists_ += update_.prepare() ? 1 : 0;
        const auto update = [this] { update_.run(context_.stream(), sums_.loss()); };
        if (!records()) return update();
        recorded_.keep_for({sums_.moves(), lists_});
        recorded_.update(update);
    }

    void micro_batch(const Batch& batch, bool first) {
        for (auto* parameter : parameters_) parameter->overwrite_next(first);
        Tape tape(context_);
        Forward<Real> forward{tape, batch.token, batch.segments, {}, &scales_.names()};
        const auto nll = model_.loss(forward, model_.hidden(forward), batch.target, batch.row);
        pool_balance(forward, model_.activations == Activations::recomputed);
        // A checkpointed layer seeds its penalties in backward: their coefficients must stand before it.
        scales_.learn(forward, context_.scalars());
        sums_.add_loss(tape.stream(), nll.value());
        sums_.add_stats(tape.stream(), forward);
        sums_.add_penalties_and_traces(tape.stream(), forward);
        seed(tape, nll, 0);
        seed_penalties(forward);
        tape.backward();
        for (auto* parameter : parameters_) parameter->overwrite_next(false);
    }

    /// From the numbers that arrived.
    void read(Pending& pending) const {
        const StepValues values = pending.fetch->values();
        StepReport& report = pending.report;
        report.cross_entropy = sums_.loss(values) / static_cast<double>(report.supervised);
        report.gradient_norm = pending.fetch->report(kClipNorm);
        sums_.penalties(values, [&](const std::string& name, double sum, double) {
            report.penalties[name] = sum / scales_.unit(name, pending.size);
        });
        sums_.traces(values, [&](const std::string& name, double sum, double routers) {
            report.traces[name] = sum / static_cast<double>(report.tokens) / routers;
        });
        sums_.add_to(values, report.routers);
    }

    /// The step was blocked, and so was whatever was begun behind it.
    [[noreturn]] void stop(const Pending& pending) {
        try {
            throw_blocked_step(context_, model_, parameters_, pending.report, pending.fetch->status());
        } catch (...) {
            if (on_gpu()) give_up();
            throw;
        }
    }
    void give_up() {
        while (!pending_.empty()) {
            pending_.front().fetch->wait();
            pending_.pop_front();
        }
        start_clean();
    }
    /// Where a step may begin on a GPU: gradients and status words are zero.
    void start_clean() {
        accumulate_from_zero(true);
        cuda_step().clear_status();
    }

    Context& context_;
    Decoder<Real>& model_;
    TrainerOptions options_;
    LearningRouters learns_;
    Parameters parameters_;
    PenaltyScales scales_;
    StepSums<Real> sums_;
    StepUpdate<Wide<Real>> update_;
    StepBatches inputs_;
    RecordedSteps recorded_;
    std::unique_ptr<StepFetch> fetches_[2];
    std::deque<Pending> pending_;
    DeviceUse use_;
    Index steps_ = 0, begun_ = 0;
    int lists_ = 0;
};

}  // namespace moegrad
