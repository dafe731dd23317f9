#pragma once
// run_pretraining: a model from nothing: `Decoder::initialize`, then full-parameter AdamW on the small world, written on
// the fly, or on a text file. Step n sees the same samples however the run is cut into micro-batches or threads.
// Writes to output.dir: model/ (a complete Hugging Face folder), config.toml, metrics.jsonl.

#include <chrono>
#include <filesystem>
#include <map>
#include <string>

#include <moegrad/data/order.hpp>
#include <moegrad/data/world_documents.hpp>
#include <moegrad/data/world_tokenizer.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/model_saver.hpp>
#include <moegrad/train/pretrain_config.hpp>
#include <moegrad/train/progress.hpp>
#include <moegrad/train/trainer.hpp>

namespace moegrad {

/// Documents one after another, packed into samples: BOS, then as many whole documents as fit, EOS after each.
class WorldSamples {
public:
    WorldSamples(const World& source, const Tokenizer& tokenizer, Index max_length, bool heldout = false)
        : world_(source), tokenizer_(tokenizer), max_length_(max_length), heldout_(heldout) {}

    Sample next() {
        std::vector<std::int32_t> token{tokenizer_.bos_id()};
        for (;;) {
            if (waiting_.empty()) waiting_ = encode(world_document(world_, document_++, heldout_));
            const std::size_t length = token.size() + waiting_.size();
            if (static_cast<Index>(length) > max_length_) break;
            token.insert(token.end(), waiting_.begin(), waiting_.end());
            waiting_.clear();
        }
        if (token.size() == 1) {
            throw Error{ErrorCode::config, "data.max_length", format("at least {}", waiting_.size() + 1),
                        format("{}", max_length_), format("document {} would not fit", document_ - 1)};
        }
        return language_sample(std::move(token));
    }
    std::vector<std::int32_t> encode(const WorldText& document) const {
        auto ids = tokenizer_.encode(document.text(), {.add_special = false});
        ids.push_back(tokenizer_.eos_id());
        return ids;
    }

private:
    const World& world_;
    const Tokenizer& tokenizer_;
    Index max_length_;
    bool heldout_;
    Index document_ = 0;
    std::vector<std::int32_t> waiting_;
};

/// Held-out documents, one sample each, by domain.
inline std::map<std::string, Dataset> world_heldout(const World& source, const Tokenizer& tokenizer,
                                                    Index count) {
    std::map<std::string, Dataset> domains;
    const WorldSamples samples(source, tokenizer, 0, true);
    for (Index n = 0; n < count; ++n) {
        const WorldText document = world_document(source, n, true);
        std::vector<std::int32_t> token{tokenizer.bos_id()};
        const auto ids = samples.encode(document);
        token.insert(token.end(), ids.begin(), ids.end());
        domains[document.domain].push_back(language_sample(std::move(token)));
    }
    return domains;
}

struct PretrainSummary {
    std::map<std::string, double> nll;  // per held-out token, by domain; "text" for a text
    Index tokens = 0, parameters = 0;
    std::string model;  // folder
};

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

/// Where a run's samples come from: the small world, or a text.
struct PretrainData {
    World world;
    Tokenizer tokenizer;
    Dataset text;  // empty: the small world
    std::map<std::string, Dataset> heldout;
};

inline PretrainData load_pretrain_data(const PretrainConfig& config) {
    if (config.text.empty() != config.tokenizer.empty()) {
        throw Error{ErrorCode::config, "data.text and data.tokenizer", "both, or neither for the small world",
                    "one of them"};
    }
    const World world(config.world);
    if (config.text.empty()) {
        PretrainData data{world, parse_tokenizer(world_tokenizer_json(), "tokenizer.json"), {}, {}};
        data.heldout = world_heldout(data.world, data.tokenizer, config.eval_documents);
        return data;
    }
    PretrainData data{world, load_tokenizer(config.tokenizer), {}, {}};
    const MappedFile file(config.text);
    std::vector<std::int32_t> prefix;
    if (data.tokenizer.bos_id() >= 0) prefix.push_back(data.tokenizer.bos_id());
    data.text =
        text_samples(data.tokenizer.encode(file.text(), {.add_special = false}), config.max_length, prefix);
    const std::size_t kept =
        static_cast<std::size_t>(static_cast<double>(data.text.size()) * (1 - config.holdout));
    if (kept == 0) {
        throw Error{ErrorCode::data, config.text, "text for at least one sample beside data.holdout",
                    format("{} samples", data.text.size())};
    }
    data.heldout["text"].assign(data.text.begin() + static_cast<std::ptrdiff_t>(kept), data.text.end());
    data.text.resize(kept);
    return data;
}

inline void check_pretraining(const PretrainConfig& config) {
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
}

/// The samples of each step, in order.
class PretrainBatches {
public:
    PretrainBatches(const PretrainData& data, const PretrainConfig& config)
        : data_(data),
          batch_(config.batch),
          stream_(data.world, data.tokenizer, config.max_length),
          order_(std::max<Index>(1, static_cast<Index>(data.text.size())), config.batch, config.seed) {
        for (Index i = 0; i < batch_; ++i) picks_.push_back(static_cast<std::int32_t>(i));
    }
    /// Of step n; steps are asked for one after another.
    const Dataset& at(Index n) {
        if (!data_.text.empty()) {
            picks_ = order_.step(n);
            return data_.text;
        }
        fresh_.clear();
        for (Index i = 0; i < batch_; ++i) fresh_.push_back(stream_.next());
        return fresh_;
    }
    const std::vector<std::int32_t>& picks() const { return picks_; }

private:
    const PretrainData& data_;
    Index batch_;
    WorldSamples stream_;
    SampleOrder order_;
    Dataset fresh_;
    std::vector<std::int32_t> picks_;
};

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
        fill_normal(embedding->value(), config.embedding_range, config.seed, 0);
    }
    prepare_pretraining(*model, config.balance);
    return model;
}

/// All steps; `each(report, seconds)` after every one.
template <class Real, class Each>
void pretrain_steps(const PretrainConfig& config, const PretrainData& data, Trainer<Real>& trainer,
                    bool mixture, Each each) {
    PretrainBatches batches(data, config);
    LearningRate rate = config.rate;
    rate.shape = LearningRate::named(config.shape);
    const std::map<std::string, double> coefficients{{"balance", mixture ? config.balance : 0}};
    for (Index n = 0; n < config.steps; ++n) {
        const Dataset& samples = batches.at(n);
        const auto started = std::chrono::steady_clock::now();
        const auto report = trainer.step(samples, batches.picks(), rate.at(n, config.steps), coefficients);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
        each(report, took.count());
    }
}

/// The tokenizer's files beside the weights.
inline void write_tokenizer_files(const PretrainConfig& config, const std::string& folder) {
    if (config.text.empty()) return write_world_tokenizer(folder);
    for (const char* file :
         {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"}) {
        const std::string from = config.tokenizer + "/" + file;
        if (file_exists(from)) write_file_atomically(folder + "/" + file, MappedFile(from).text());
    }
}

}  // namespace detail

template <class Real, class Say>
PretrainSummary run_pretraining(const PretrainConfig& config, Say say) {
    detail::check_pretraining(config);
    const auto data = detail::load_pretrain_data(config);
    const auto model = detail::fresh_model<Real>(config, data.tokenizer);
    Context context({.device = Device::cpu, .threads = config.threads});
    Trainer<Real> trainer(context, *model, {"balance"},
                          {.adamw = config.adamw,
                           .clip = config.clip,
                           .micro_batch = config.micro_batch > 0 ? config.micro_batch : config.batch,
                           .seed = config.seed});
    PretrainSummary summary;
    for (const auto* parameter : trainer.parameters()) summary.parameters += parameter->size();
    say(format("{} of {} parameters, vocabulary {}, {} steps of {} samples", config.family,
               summary.parameters, model->config().vocab_size, config.steps, config.batch));
    RunState state;
    RunLog log(config.output, pretrain_table().resolved(config), config.steps, state);
    const auto evaluate = [&](Index step) {
        for (const auto& [domain, samples] : data.heldout) {
            std::map<std::string, RoutingTotals> routers;
            summary.nll[domain] = trainer.evaluate(samples, &routers);
            say(format("{:<12} {}", domain, log.evaluation(step, summary.nll[domain], mean_load(routers))));
        }
    };
    detail::pretrain_steps(
        config, data, trainer, model->config().is_mixture(), [&](const StepReport& report, double seconds) {
            const std::string line = log.step(report, seconds);
            summary.tokens += report.tokens;
            const Index done = report.step + 1;
            const bool regular = config.log_every > 0 && report.step % config.log_every == 0;
            if (regular || report.step < 2 || done == config.steps) say(line);
            if (config.eval_every > 0 && done % config.eval_every == 0 && done < config.steps) evaluate(done);
        });
    evaluate(config.steps);
    summary.model = config.output + "/model";
    save_model(*model, summary.model, config.stored == "bfloat16" ? StoredType::bf16 : StoredType::f32);
    detail::write_tokenizer_files(config, summary.model);
    log.save();
    return summary;
}

}  // namespace moegrad
