#pragma once
// The samples of a mix, each a function of (seed, number) alone: any step can be made without those before it, in any
// thread. A sample is BOS and max_length - 1 tokens of a stream of documents, EOS after each; a document runs over the end
// of its sample: of texts into the next sample, of the small world nowhere, since every sample begins with a document.

#include <moegrad/core/philox.hpp>
#include <moegrad/core/thread_pool.hpp>
#include <moegrad/data/dataset.hpp>
#include <moegrad/data/world_documents.hpp>
#include <moegrad/io/tokenizer.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace moegrad {

/// Documents in an order that is drawn anew for every epoch, one epoch behind the other without end.
class DocumentStream {
public:
    /// `number` tells the streams of one seed apart.
    DocumentStream(std::span<const std::string> texts, const Tokenizer& tokenizer, std::uint64_t seed,
                   std::uint64_t number, ThreadPool& pool)
        : document_(texts.size()), seed_(seed), number_(number) {
        pool.parallel_for(static_cast<Index>(texts.size()), [&](Index i) {
            auto& ids = document_[static_cast<std::size_t>(i)];
            ids = tokenizer.encode(texts[static_cast<std::size_t>(i)], {.add_special = false});
            if (tokenizer.eos_id() >= 0) ids.push_back(tokenizer.eos_id());
        });
        for (const auto& ids : document_) tokens_ += static_cast<Index>(ids.size());
        if (tokens_ == 0) throw Error{ErrorCode::data, "data.mix", "some text", "none"};
    }

    /// Of one epoch.
    Index tokens() const { return tokens_; }
    Index documents() const { return static_cast<Index>(document_.size()); }

    /// Tokens begin, begin + 1, .. of the stream.
    void read(Index begin, std::span<std::int32_t> out) const {
        while (!out.empty()) {
            const auto epoch = order(begin / tokens_);
            const Index inside = begin % tokens_;
            const auto next = std::upper_bound(epoch->begin.begin(), epoch->begin.end(), inside);
            const auto place = static_cast<std::size_t>(next - epoch->begin.begin()) - 1;
            const auto& ids = document_[static_cast<std::size_t>(epoch->document[place])];
            const auto skip = static_cast<std::size_t>(inside - epoch->begin[place]);
            const std::size_t count = std::min(out.size(), ids.size() - skip);
            std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(skip), count, out.begin());
            out = out.subspan(count);
            begin += static_cast<Index>(count);
        }
    }

private:
    struct Epoch {
        std::vector<std::int32_t> document;
        std::vector<Index> begin;  // of the document at each place
    };

    /// The newest epochs are kept.
    std::shared_ptr<const Epoch> order(Index number) const {
        const std::lock_guard lock(mutex_);
        auto& found = epochs_[number];
        if (found) return found;
        auto epoch = std::make_shared<Epoch>();
        for (std::size_t i = 0; i < document_.size(); ++i)
            if (!document_[i].empty()) epoch->document.push_back(static_cast<std::int32_t>(i));
        Random random(seed_, 0x6d69ull << 48 | number_ << 32 | static_cast<std::uint64_t>(number));
        shuffle(std::span<std::int32_t>(epoch->document), random);
        Index begin = 0;
        for (const std::int32_t i : epoch->document) {
            epoch->begin.push_back(begin);
            begin += static_cast<Index>(document_[static_cast<std::size_t>(i)].size());
        }
        found = epoch;
        while (epochs_.size() > kKeptEpochs && epochs_.begin()->first < number)
            epochs_.erase(epochs_.begin());
        return epoch;
    }

    static constexpr std::size_t kKeptEpochs = 4;
    std::vector<std::vector<std::int32_t>> document_;
    std::uint64_t seed_, number_;
    Index tokens_ = 0;
    mutable std::mutex mutex_;
    mutable std::map<Index, std::shared_ptr<const Epoch>> epochs_;
};

/// Documents of the small world from document `first` on.
inline void read_world(const World& source, const Tokenizer& tokenizer, Index first,
                       std::span<std::int32_t> out) {
    for (std::size_t done = 0; done < out.size(); ++first) {
        auto ids = tokenizer.encode(world_document(source, first).text(), {.add_special = false});
        if (tokenizer.eos_id() >= 0) ids.push_back(tokenizer.eos_id());
        const std::size_t count = std::min(out.size() - done, ids.size());
        std::copy_n(ids.begin(), count, out.begin() + static_cast<std::ptrdiff_t>(done));
        done += count;
    }
}

/// Which source each sample comes from: always the one that is furthest behind its share.
class MixOrder {
public:
    struct Pick {
        std::size_t source;
        Index number;  // among the source's samples
    };

    explicit MixOrder(std::vector<double> shares) : share_(std::move(shares)), taken_(share_.size(), 0) {}

    /// Samples [first, first + count); counts from 0 again where `first` lies behind.
    std::vector<Pick> picks(Index first, Index count) {
        if (first < next_) {
            next_ = 0;
            std::fill(taken_.begin(), taken_.end(), 0);
        }
        std::vector<Pick> picks;
        while (next_ < first) take();
        while (next_ < first + count) picks.push_back(take());
        return picks;
    }

private:
    Pick take() {
        std::size_t best = 0;
        double most = -1e300;
        ++next_;
        for (std::size_t s = 0; s < share_.size(); ++s) {
            const double behind = share_[s] * static_cast<double>(next_) - static_cast<double>(taken_[s]);
            if (behind > most) best = s, most = behind;
        }
        return {best, taken_[best]++};
    }

    std::vector<double> share_;
    std::vector<Index> taken_;
    Index next_ = 0;
};

}  // namespace moegrad
