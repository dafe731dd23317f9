#pragma once
// What a pretraining run reads: documents of the small world, written on the fly, a text file without its repeats, or a mix
// of both; and what is held out.

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <moegrad/data/dataset.hpp>
#include <moegrad/data/order.hpp>
#include <moegrad/data/repeats.hpp>
#include <moegrad/data/world_documents.hpp>
#include <moegrad/data/world_tokenizer.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/train/pretrain_config.hpp>
#include <moegrad/train/pretrain_mix.hpp>

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
    /// Documents that samples so far are made of; a new stream that starts there goes on in the same way.
    Index position() const { return waiting_.empty() ? document_ : document_ - 1; }
    void seek(Index document) {
        document_ = document;
        waiting_.clear();
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

namespace detail {

/// Where a run's samples come from: the small world, a text, or a mix.
struct PretrainData {
    World world;
    Tokenizer tokenizer;
    Dataset text;  // empty: the small world
    std::map<std::string, Dataset> heldout;
    std::map<std::string, Index> heldout_bytes = {};  // of a mix
    std::shared_ptr<PretrainMix> mix = nullptr;
};

inline PretrainData load_pretrain_mix(const PretrainConfig& config) {
    if (!config.text.empty() || config.tokenizer.empty()) {
        throw Error{ErrorCode::config, "data.mix", "data.tokenizer, and no data.text",
                    config.tokenizer.empty() ? "no tokenizer" : "a text"};
    }
    PretrainData data{World(config.world), load_tokenizer(config.tokenizer), {}, {}};
    data.mix = std::make_shared<PretrainMix>(config, data.world, data.tokenizer);
    data.heldout = data.mix->heldout();
    data.heldout_bytes = data.mix->heldout_bytes();
    return data;
}

inline PretrainData load_pretrain_data(const PretrainConfig& config) {
    if (!config.mix.empty()) return load_pretrain_mix(config);
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
    data.text = text_samples(data.tokenizer.encode(without_repeats(file.text()), {.add_special = false}),
                             config.max_length, prefix);
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

/// What StepPrefetch makes ahead.
struct MixSteps {
    std::shared_ptr<PretrainMix> mix;
    Dataset operator()(Index n) const { return mix->step(n); }
};

/// The samples of each step, in order.
class PretrainBatches {
public:
    PretrainBatches(const PretrainData& data, const PretrainConfig& config)
        : data_(data),
          batch_(config.batch),
          stream_(data.world, data.tokenizer, config.max_length),
          order_(std::max<Index>(1, static_cast<Index>(data.text.size())), config.batch, config.seed) {
        for (Index i = 0; i < batch_; ++i) picks_.push_back(static_cast<std::int32_t>(i));
        if (data.mix) {
            ahead_ = std::make_unique<StepPrefetch<MixSteps>>(MixSteps{data.mix}, config.steps);
        }
    }
    /// Of step n; steps are asked for one after another.
    const Dataset& at(Index n) {
        if (!data_.text.empty()) {
            picks_ = order_.step(n);
            return data_.text;
        }
        if (ahead_) return fresh_ = ahead_->take(n);
        fresh_.clear();
        for (Index i = 0; i < batch_; ++i) fresh_.push_back(stream_.next());
        return fresh_;
    }
    const std::vector<std::int32_t>& picks() const { return picks_; }
    /// Where the stream of documents stands; 0 for a text or a mix, whose order is a function of the step.
    Index position() const { return data_.text.empty() && !ahead_ ? stream_.position() : 0; }
    void seek(Index position) { stream_.seek(position); }

private:
    const PretrainData& data_;
    Index batch_;
    WorldSamples stream_;
    SampleOrder order_;
    Dataset fresh_;
    std::vector<std::int32_t> picks_;
    std::unique_ptr<StepPrefetch<MixSteps>> ahead_;  // of a mix
};

}  // namespace detail

}  // namespace moegrad
