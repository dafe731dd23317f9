#pragma once
// PretrainMix: the samples of every step of a mix, what is held out of it, and how often each source was read.
// StepPrefetch makes steps ahead of the one that is asked for, in a thread of its own with a pool of its own. What a step
// holds depends on neither.

#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <moegrad/data/mix.hpp>
#include <moegrad/data/mix_stream.hpp>
#include <moegrad/train/pretrain_config.hpp>

namespace moegrad {

/// How much of a source the first steps of a run read.
struct MixUse {
    std::string domain;
    Index samples = 0, tokens = 0;
    double epochs = 0;  // 0: the small world, which has no end
};

class PretrainMix {
public:
    PretrainMix(const PretrainConfig& config, const World& source, const Tokenizer& tokenizer)
        : length_(config.max_length),
          batch_(config.batch),
          world_(source),
          tokenizer_(tokenizer),
          pool_(config.threads > 0 ? config.threads : default_threads()),
          sources_(parse_mix(config.mix)),
          order_(shares()) {
        for (std::size_t s = 0; s < sources_.size(); ++s) {
            if (sources_[s].files.empty()) {
                stream_.push_back(nullptr);
                hold_out_world(sources_[s].domain, config.eval_documents);
                continue;
            }
            const MixTexts texts = mix_texts(sources_[s], config.folder, config.holdout);
            stream_.push_back(
                std::make_unique<DocumentStream>(texts.train, tokenizer_, config.seed, s, pool_));
            for (const std::string& text : texts.heldout) hold_out(sources_[s].domain, text);
            leak_[sources_[s].domain] = texts.leak;
            repeated_[sources_[s].domain] = texts.repeated;
        }
    }

    /// By domain; the small world's are "domain/its own".
    const std::map<std::string, Dataset>& heldout() const { return heldout_; }
    /// Of the held-out texts.
    const std::map<std::string, Index>& heldout_bytes() const { return heldout_bytes_; }
    /// By domain, none of the small world: how much of what is held out is trained on all the same.
    const std::map<std::string, HeldoutLeak>& leak() const { return leak_; }
    /// "papers       held out: 76992 bytes, 0.0 % of it also stands in the training part", of every source with files.
    std::vector<std::string> heldout_lines() const {
        std::vector<std::string> lines;
        for (const auto& [domain, leak] : leak_) {
            const auto bytes = heldout_bytes_.find(domain);
            const auto repeated = repeated_.at(domain);
            const std::string left_out =
                repeated == 0 ? "" : format(" ({} repeated bytes are left out)", repeated);
            lines.push_back(format("{:<12} {}{}", domain,
                                   heldout_leak_text(bytes == heldout_bytes_.end() ? 0 : bytes->second, leak),
                                   left_out));
        }
        return lines;
    }

    Dataset step(Index n) {
        const auto picks = order_.picks(n * batch_, batch_);
        Dataset samples(picks.size());
        pool_.parallel_for(static_cast<Index>(picks.size()), [&](Index i) {
            samples[static_cast<std::size_t>(i)] = sample(picks[static_cast<std::size_t>(i)]);
        });
        return samples;
    }

    std::vector<MixUse> use(Index steps) const {
        std::vector<MixUse> use;
        for (const MixSource& source : sources_) use.push_back({source.domain});
        for (const auto& pick : MixOrder(shares()).picks(0, steps * batch_)) ++use[pick.source].samples;
        for (std::size_t s = 0; s < use.size(); ++s) {
            use[s].tokens = use[s].samples * body();
            if (stream_[s])
                use[s].epochs =
                    static_cast<double>(use[s].tokens) / static_cast<double>(stream_[s]->tokens());
        }
        return use;
    }

private:
    std::vector<double> shares() const {
        std::vector<double> all;
        for (const MixSource& source : sources_) all.push_back(source.share);
        return all;
    }
    Index begin() const { return tokenizer_.bos_id() >= 0 ? 1 : 0; }
    Index body() const { return length_ - begin(); }

    Sample sample(const MixOrder::Pick& pick) const {
        std::vector<std::int32_t> token(static_cast<std::size_t>(length_), tokenizer_.bos_id());
        const auto out = std::span(token).subspan(static_cast<std::size_t>(begin()));
        if (stream_[pick.source]) {
            stream_[pick.source]->read(pick.number * body(), out);
        } else {
            read_world(world_, tokenizer_, pick.number * length_, out);  // no sample has as many documents
        }
        return language_sample(std::move(token));
    }

    void hold_out(const std::string& domain, const std::string& text) {
        std::vector<std::int32_t> prefix;
        if (begin() > 0) prefix.push_back(tokenizer_.bos_id());
        auto samples = text_samples(tokenizer_.encode(text, {.add_special = false}), length_, prefix);
        auto& all = heldout_[domain];
        all.insert(all.end(), samples.begin(), samples.end());
        heldout_bytes_[domain] += static_cast<Index>(text.size());
    }
    void hold_out_world(const std::string& domain, Index documents) {
        for (Index n = 0; n < documents; ++n) {
            const WorldText document = world_document(world_, n, true);
            hold_out(domain + "/" + document.domain, document.text());
        }
    }

    Index length_, batch_;
    World world_;
    Tokenizer tokenizer_;
    ThreadPool pool_;
    std::vector<MixSource> sources_;
    MixOrder order_;
    std::vector<std::unique_ptr<DocumentStream>> stream_;  // by source; none for the small world
    std::map<std::string, Dataset> heldout_;
    std::map<std::string, Index> heldout_bytes_;
    std::map<std::string, HeldoutLeak> leak_;
    std::map<std::string, std::size_t> repeated_;
};

/// Makes steps n, n + 1, .. before they are asked for; the first one when it is asked for. make(n) -> Dataset.
template <class Make>
class StepPrefetch {
public:
    StepPrefetch(Make make, Index steps) : make_(std::move(make)), steps_(steps) {}
    ~StepPrefetch() { stop(); }
    StepPrefetch(const StepPrefetch&) = delete;
    StepPrefetch& operator=(const StepPrefetch&) = delete;

    Dataset take(Index n) {
        if (!thread_.joinable() || n != next_) start(n);
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return !ready_.empty() || problem_; });
        if (ready_.empty()) std::rethrow_exception(problem_);
        Dataset step = std::move(ready_.front());
        ready_.pop_front();
        ++next_;
        changed_.notify_all();
        return step;
    }

private:
    static constexpr std::size_t kAhead = 4;

    void start(Index n) {
        stop();
        ready_.clear();
        problem_ = nullptr;
        stop_ = false;
        next_ = n;
        thread_ = std::thread([this, n] { work(n); });
    }
    void stop() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        changed_.notify_all();
        if (thread_.joinable()) thread_.join();
    }
    void work(Index n) {
        const Index last = std::max(steps_, n + 1);
        try {
            for (; n < last; ++n) {
                Dataset step = make_(n);
                std::unique_lock lock(mutex_);
                changed_.wait(lock, [&] { return stop_ || ready_.size() < kAhead; });
                if (stop_) return;
                ready_.push_back(std::move(step));
                changed_.notify_all();
            }
        } catch (...) {
            const std::lock_guard lock(mutex_);
            problem_ = std::current_exception();
            changed_.notify_all();
        }
    }

    Make make_;
    Index steps_, next_ = -1;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Dataset> ready_;
    std::exception_ptr problem_;
    bool stop_ = false;
    std::thread thread_;
};

}  // namespace moegrad
