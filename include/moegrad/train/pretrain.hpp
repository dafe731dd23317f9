#pragma once
// run_pretraining: a model from nothing: `Decoder::initialize`, then full-parameter AdamW on the small world, written on
// the fly, on a text file, or a mix. Step n sees the same samples however the run is cut into micro-batches or threads.
// Writes to output.dir: model/ (a complete Hugging Face folder), config.toml, metrics.jsonl, results.json, checkpoints/
// while it goes.

#include <chrono>
#include <filesystem>
#include <map>
#include <string>

#include <moegrad/io/sha256.hpp>
#include <moegrad/train/checkpoint.hpp>
#include <moegrad/train/input_files.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/model_saver.hpp>
#include <moegrad/train/pretrain_config.hpp>
#include <moegrad/train/pretrain_data.hpp>
#include <moegrad/train/pretrain_results.hpp>
#include <moegrad/train/progress.hpp>
#include <moegrad/train/run_checks.hpp>
#include <moegrad/train/run_control.hpp>
#include <moegrad/train/run_model.hpp>
#include <moegrad/train/trainer.hpp>

namespace moegrad {

/// Every base weight trains; routers of a mixture get the Switch load balance.
template <class Real>
void prepare_pretraining(Decoder<Real>& model, double balance) {
    for (auto* parameter : model.base_parameters()) parameter->set_trainable(true);
    for (auto& layer : model.layers()) {
        for (auto& moe : layer.moe) {
            auto* router = moe.router.template get<TopKRouter<Wide<Real>>>();
            if (router && balance > 0) router->penalties.balance = BalanceLoss::switch_share;
        }
    }
}

namespace detail {

inline void check_pretraining(const PretrainConfig& config) {
    check_device(config.place(), config.number());
    const auto range = [](const char* key, double value, double low, double high) {
        if (value >= low && value <= high) return;
        throw Error{ErrorCode::config, key, format("{} to {}", low, high), format("{}", value)};
    };
    range("train.steps", static_cast<double>(config.steps), 1, 1e9);
    range("train.batch", static_cast<double>(config.batch), 1, 1e6);
    range("train.threads", config.threads, 0, kMaxThreads);
    range("data.max_length", static_cast<double>(config.max_length), 2, 1e7);
    range("data.holdout", config.holdout, 0, 0.99);
    range("optim.lr", config.rate.peak, 0, 1e3);
    range("optim.beta1", config.adamw.beta1, 0, 1 - 1e-9);
    range("optim.beta2", config.adamw.beta2, 0, 1 - 1e-9);
    range("optim.eps", config.adamw.epsilon, 1e-30, 1);
    range("optim.weight_decay", config.adamw.weight_decay, 0, 1e3);
    range("optim.clip", config.clip, 0, 1e9);
    range("router.aux_coef", config.balance, 0, 1e3);
    range("checkpoint.keep", static_cast<double>(config.checkpoint_keep), 2, 1e6);
}

/// The model before its first step. Words that no document has keep their random embedding; it must be as large as a
/// trained one, or fine-tuning, which freezes it, could hardly tell them apart.
template <class Real>
std::unique_ptr<Decoder<Real>> fresh_model(const PretrainConfig& config, const Tokenizer& tokenizer) {
    ModelConfig shape = config.model(static_cast<Index>(tokenizer.vocab_size()));
    if (tokenizer.bos_id() >= 0) shape.bos_token_id = tokenizer.bos_id();
    if (tokenizer.eos_id() >= 0) shape.eos_token_ids = {tokenizer.eos_id()};
    auto model = make_model<Real>(shape);
    model->initialize(config.seed);
    if (!config.tied) {
        auto* embedding = model->base_parameters().front();
        change_values<Real>(*embedding, [&](const auto& values) {
            fill_normal(values, config.embedding_range, config.seed, 0);
        });
    }
    prepare_pretraining(*model, config.balance);
    move_to(*model, config.place());
    return model;
}

/// The tokenizer's files beside the weights.
inline void write_tokenizer_files(const PretrainConfig& config, const std::string& folder) {
    if (config.tokenizer.empty()) return write_world_tokenizer(folder);
    for (const char* file : {"tokenizer.json", "tokenizer.model", "tokenizer_config.json",
                             "special_tokens_map.json", "generation_config.json"}) {
        const std::string from = config.tokenizer + "/" + file;
        if (file_exists(from)) write_file_atomically(folder + "/" + file, MappedFile(from).text());
    }
}

/// What decides the result, for checkpoints: all settings but those that only say how the work is done, and the files.
inline std::string pretrain_identity(const PretrainConfig& config) {
    std::string lines;
    for (const auto& entry : pretrain_table().entries()) {
        const std::string_view key = entry.key;
        const bool cut = key == "train.micro_batch" && config.place() == Device::cpu;
        const bool how = cut || key == "train.threads" || key == "train.graphs" || key == "data.folder" ||
                         key == "output.dir" || key.starts_with("log.") || key.starts_with("checkpoint.");
        if (!how) lines += format("{} = {}\n", key, pretrain_table().get(entry, config));
    }
    if (config.place() == Device::cuda) lines += format("gpu = {}\n", device_name());
    if (!config.text.empty()) lines += format("text = {}\n", sha256_file(config.text));
    for (const MixSource& source : parse_mix(config.mix)) {
        for (const std::string& file : mix_files(source, config.folder))
            lines += format("{} = {}\n", source.domain, sha256_once(file));
    }
    if (!config.tokenizer.empty())
        lines += format("tokenizer = {}\n", sha256_file(config.tokenizer + "/tokenizer.json"));
    return lines;
}

/// One run, from nothing, or from its newest checkpoint, to the finished model.
template <class Real, class Say>
class PretrainingRun {
public:
    PretrainingRun(const PretrainConfig& config, Say say, const RunControl& control)
        : config_((check_pretraining(config), config)),
          say_(std::move(say)),
          control_(control),
          data_(load_pretrain_data(config)),
          model_(fresh_model<Real>(config, data_.tokenizer)),
          context_({.device = config.place(), .threads = config.threads}),
          trainer_(context_, *model_, {"balance"},
                   {.adamw = config.adamw,
                    .clip = config.clip,
                    .micro_batch = config.micro_batch > 0 ? config.micro_batch : config.batch,
                    .seed = config.seed,
                    .graphs = config.graphs}),
          batches_(data_, config),
          rate_(config.rate) {
        rate_.shape = LearningRate::named(config.shape);
    }

    PretrainSummary run() {
        for (const auto* parameter : trainer_.parameters()) summary_.parameters += parameter->size();
        say_(format("{} of {} parameters, vocabulary {}, {} steps of {} samples", config_.family,
                    summary_.parameters, model_->config().vocab_size, config_.steps, config_.batch));
        if (data_.mix)
            for (const std::string& line : data_.mix->heldout_lines()) say_(line);
        if (control_.resume) {
            go_on();
        } else {
            require_free_output(config_.output, "model", control_.replace);
            std::filesystem::remove_all(config_.output + "/checkpoints");
        }
        RunLog log(config_.output, pretrain_table().resolved(config_), config_.steps, state_);
        bool leaving = interrupted();  // asked once and kept: whoever leaves has nothing in flight
        while (state_.step < config_.steps && !leaving) {
            take_step(log);
            leaving = interrupted();
            while (leaving && trainer_.in_flight() > 0) take_report(log);
            const Index done = state_.step;
            if (is_due(config_.eval_every) && done < config_.steps) evaluate(log);
            leaving = leaving || (trainer_.in_flight() == 0 && interrupted());
            if (is_due(config_.checkpoint_every) || leaving) save(log);
        }
        summary_.tokens = state_.tokens;
        if (state_.step < config_.steps) {
            summary_.interrupted = true;
            return summary_;
        }
        evaluate(log);
        ask_whether_routing_matters();
        summary_.model = config_.output + "/model";
        save_model(*model_, summary_.model,
                   config_.stored == "bfloat16" ? StoredType::bf16 : StoredType::f32);
        write_tokenizer_files(config_, summary_.model);
        log.save();
        write_pretrain_results(config_.output + "/results.json", summary_, data_, state_);
        if (config_.place() == Device::cuda) say_(device_use_text(trainer_.use()));
        return summary_;
    }

private:
    bool interrupted() const { return control_.stop != nullptr && control_.stop->load(); }
    bool is_due(Index every) const { return every > 0 && state_.step % every == 0; }

    void go_on() {
        const auto state = resume_checkpoint(config_.output, trainer_, pretrain_identity(config_), say_);
        if (!state) {
            throw Error{ErrorCode::state, config_.output, "a checkpoint to go on from", "none",
                        "start without --resume"};
        }
        state_ = *state;
        batches_.seek(state_.stream);
        say_(format("going on after step {} of {}", state_.step, config_.steps));
    }

    /// Begins as many steps as may be in flight, up to the next evaluation or checkpoint, and waits for the oldest.
    void take_step(RunLog& log) {
        const Index stop =
            next_stop(state_.step, config_.steps, {config_.eval_every, config_.checkpoint_every});
        while (trainer_.in_flight() < trainer_.depth() && state_.step + trainer_.in_flight() < stop)
            begin_step();
        take_report(log);
    }
    void begin_step() {
        const Index n = state_.step + trainer_.in_flight();
        const bool mixture = model_->config().is_mixture();
        const Dataset& samples = batches_.at(n);
        if (trainer_.in_flight() == 0) clock_ = std::chrono::steady_clock::now();
        const Index each = config_.micro_batch > 0 ? config_.micro_batch : config_.batch;
        trainer_.begin_step(samples, micro_batches(batches_.picks(), each), rate_.at(n, config_.steps),
                            {{"balance", mixture ? config_.balance : 0}});
    }
    void take_report(RunLog& log) {
        const Index n = state_.step;
        const StepReport report = *trainer_.finish_step();
        const auto now = std::chrono::steady_clock::now();
        const std::chrono::duration<double> took = now - std::exchange(clock_, now);
        const std::string line = log.step(report, took.count());
        state_.step = n + 1;
        state_.stream = batches_.position();
        const bool regular = config_.log_every > 0 && n % config_.log_every == 0;
        if (regular || n < 2 || n + 1 == config_.steps) say_(line);
    }

    void evaluate(RunLog& log) {
        for (const auto& [domain, samples] : data_.heldout) {
            std::map<std::string, RoutingTotals> routers;
            summary_.nll[domain] = trainer_.evaluate(samples, &routers);
            std::string line = log.evaluation(state_.step, summary_.nll[domain], mean_load(routers));
            if (const auto bytes = data_.heldout_bytes.find(domain); bytes != data_.heldout_bytes.end()) {
                const double bits = bits_per_byte(summary_.nll[domain], samples, bytes->second);
                summary_.bits_per_byte[domain] = bits;
                line += format("  {:.4f} bits per byte", bits);
            }
            say_(format("{:<12} {}", domain, line));
        }
        if (!data_.mix || state_.step < config_.steps) return;
        summary_.use = data_.mix->use(state_.step);
        for (const MixUse& use : summary_.use) say_(mix_use_text(use));
    }

    /// A base that hardly notices which experts run is no ground for statements about routers.
    void ask_whether_routing_matters() {
        Dataset documents;
        for (const auto& [domain, samples] : data_.heldout)
            documents.insert(documents.end(), samples.begin(), samples.end());
        if (!model_->config().is_mixture() || documents.size() < 2) return;
        summary_.assay = run_assay(context_, *model_, documents);
        say_(assay_text(*summary_.assay));
    }

    void save(RunLog& log) {
        log.save();
        save_checkpoint(config_.output, trainer_, state_, pretrain_identity(config_),
                        static_cast<int>(config_.checkpoint_keep));
    }

    const PretrainConfig& config_;
    Say say_;
    RunControl control_;
    PretrainData data_;
    std::unique_ptr<Decoder<Real>> model_;
    Context context_;
    Trainer<Real> trainer_;
    PretrainBatches batches_;
    LearningRate rate_;
    RunState state_;
    std::chrono::steady_clock::time_point clock_;  // when the step in hand began, or the one before it ended
    PretrainSummary summary_;
};

}  // namespace detail

/// Runs the configuration in number type Real. `say` gets every line of progress.
template <class Real, class Say>
PretrainSummary run_pretraining(const PretrainConfig& config, Say say, const RunControl& control = {}) {
    return detail::PretrainingRun<Real, Say>(config, std::move(say), control).run();
}

}  // namespace moegrad
