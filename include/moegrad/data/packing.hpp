#pragma once
// Packing: whole samples side by side in packs of at most max_length tokens, so that a step costs about the same every
// time. A pack is a way of cutting, never of mixing: its samples are segments of their own (core/segments.hpp), positions
// restart, none sees another, and the bits of a step are those of the same samples cut in any other way.
// Next fit: samples in the epoch's order (that of SampleOrder); one that does not fit any more opens the next pack.
// PackedOrder is stateless: step n depends on (lengths, max_length, packs_per_step, seed) only. An epoch's packs are built
// once, in O(samples); their number differs from epoch to epoch, so that the first call for a late step counts through the
// epochs before it.

#include <moegrad/core/error.hpp>
#include <moegrad/data/order.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace moegrad {

struct Packs {
    std::vector<std::vector<std::int32_t>> packs;  // sample ids
};

/// `order` cut into packs. lengths: tokens of every sample, by id.
inline Packs pack_samples(std::span<const std::int32_t> order, std::span<const Index> lengths,
                          Index max_length) {
    Packs result;
    Index room = 0;
    for (const std::int32_t sample : order) {
        const Index length = lengths[static_cast<std::size_t>(sample)];
        if (result.packs.empty() || length > room) {
            result.packs.emplace_back();
            room = max_length;
        }
        result.packs.back().push_back(sample);
        room -= length;
    }
    return result;
}

/// The interface of SampleOrder, with packs in place of samples.
class PackedOrder {
public:
    PackedOrder(std::vector<Index> lengths, Index max_length, Index packs_per_step, std::uint64_t seed)
        : lengths_(std::move(lengths)),
          max_length_(max_length),
          packs_per_step_(packs_per_step),
          order_(static_cast<Index>(lengths_.size()), 1, seed) {
        if (packs_per_step < 1 || max_length < 1) {
            throw Error{ErrorCode::data, "packing", "at least one pack per step, of at least one token",
                        format("{} packs of {} tokens", packs_per_step, max_length)};
        }
        for (std::size_t i = 0; i < lengths_.size(); ++i) {
            if (lengths_[i] > 0 && lengths_[i] <= max_length) continue;
            throw Error{ErrorCode::data, format("sample {}", i), format("1 to {} tokens", max_length),
                        format("{}", lengths_[i]), "a sample lies in one pack whole: raise data.max_length"};
        }
    }

    /// The packs of step n, counted from 0. A step that crosses the end of an epoch goes on in the next.
    std::vector<std::vector<std::int32_t>> packs(Index n) {
        std::vector<std::vector<std::int32_t>> all;
        for (Index i = n * packs_per_step_; i < (n + 1) * packs_per_step_; ++i) {
            const Index epoch = epoch_of_pack(i);
            build(epoch);
            all.push_back(
                built_.packs[static_cast<std::size_t>(i - first_[static_cast<std::size_t>(epoch)])]);
        }
        return all;
    }

    /// All samples of step n, in order.
    std::vector<std::int32_t> step(Index n) {
        std::vector<std::int32_t> picks;
        for (const auto& pack : packs(n)) picks.insert(picks.end(), pack.begin(), pack.end());
        return picks;
    }

    /// Step n cut into micro-batches of whole packs.
    std::vector<std::vector<std::int32_t>> micro_batches(Index n, Index packs_per_micro_batch = 1) {
        if (packs_per_micro_batch < 1) {
            throw Error{ErrorCode::config, "train.micro_batch", "at least one pack",
                        format("{}", packs_per_micro_batch)};
        }
        std::vector<std::vector<std::int32_t>> cuts;
        Index in_cut = packs_per_micro_batch;
        for (const auto& pack : packs(n)) {
            if (in_cut == packs_per_micro_batch) {
                cuts.emplace_back();
                in_cut = 0;
            }
            cuts.back().insert(cuts.back().end(), pack.begin(), pack.end());
            ++in_cut;
        }
        return cuts;
    }

    /// Which epoch step n begins in, from 0.
    Index epoch(Index n) { return epoch_of_pack(n * packs_per_step_); }

    /// Steps that touch every sample `epochs` times (the last one may run into the next epoch); of a part of an epoch,
    /// that part of its packs.
    Index steps(double epochs) {
        const Index whole = static_cast<Index>(epochs);
        const double part = epochs - static_cast<double>(whole);
        double packs = static_cast<double>(first_pack(whole));
        if (part > 0) packs += part * static_cast<double>(first_pack(whole + 1) - first_pack(whole));
        const double exact = packs / static_cast<double>(packs_per_step_);
        const Index steps = static_cast<Index>(exact);
        return steps + (static_cast<double>(steps) < exact);
    }

    /// Share of the rows of an epoch's packs that hold tokens.
    double fill(Index epoch) {
        double tokens = 0;
        for (const Index length : lengths_) tokens += static_cast<double>(length);
        return tokens / (static_cast<double>(first_pack(epoch + 1) - first_pack(epoch)) *
                         static_cast<double>(max_length_));
    }

private:
    /// Number of the first pack of an epoch, counted over all epochs.
    Index first_pack(Index epoch) {
        while (static_cast<Index>(first_.size()) <= epoch) build(static_cast<Index>(first_.size()) - 1);
        return first_[static_cast<std::size_t>(epoch)];
    }
    Index epoch_of_pack(Index pack) {
        while (first_.back() <= pack) build(static_cast<Index>(first_.size()) - 1);
        std::size_t epoch = first_.size() - 1;
        while (first_[epoch] > pack) --epoch;
        return static_cast<Index>(epoch);
    }
    void build(Index epoch) {
        if (epoch == built_epoch_) return;
        built_ = pack_samples(order_.epoch_picks(epoch), lengths_, max_length_);
        built_epoch_ = epoch;
        if (static_cast<std::size_t>(epoch) + 1 == first_.size())
            first_.push_back(first_.back() + static_cast<Index>(built_.packs.size()));
    }

    std::vector<Index> lengths_;
    Index max_length_, packs_per_step_;
    SampleOrder order_;
    std::vector<Index> first_{0};  // by epoch, as far as it was asked for
    Index built_epoch_ = -1;
    Packs built_;
};

}  // namespace moegrad
