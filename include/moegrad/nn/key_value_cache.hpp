#pragma once
// KeyValueCache: keys and values of the tokens that went before, per attention layer and sequence, so that
// generation runs new tokens only. It lies where the keys lie. On the CPU a row computes the bits it would in
// a forward over the whole sequence, as long as every router looks at single tokens; on a GPU it agrees to
// rounding.
//
//   KeyValueCache<float> cache(2);                       // two sequences
//   const Index which[] = {0, 1}, lengths[] = {7, 4};    // new tokens of each
//   const Segments segments = cache.extend(which, lengths);
//   Forward<float> forward{tape, token, placed(segments, context.device())};
//   forward.cache = &cache;
//   model.hidden(forward);

#include <algorithm>
#include <span>
#include <vector>

#include <moegrad/ops/attention_decode.hpp>

namespace moegrad {

template <class Real>
class KeyValueCache {
public:
    explicit KeyValueCache(std::size_t sequences = 1) : length_(sequences, 0) {}

    Index length(Index sequence) const { return length_.at(static_cast<std::size_t>(sequence)); }

    /// The segments of the next forward: `lengths[i]` new tokens of sequence `which[i]`, positions going on
    /// where they stopped, on the host. `sample`: what random draws know a sequence by.
    Segments extend(std::span<const Index> which, std::span<const Index> lengths,
                    std::span<const std::int32_t> sample = {}) {
        Segments segments = Segments::of_lengths(lengths, sample);
        which_.assign(which.begin(), which.end());
        past_.clear();
        begin_.assign(1, 0);
        Index row = 0;
        for (std::size_t i = 0; i < which.size(); ++i) {
            Index& length = length_.at(static_cast<std::size_t>(which[i]));
            past_.push_back(length);
            for (Index n = 0; n < lengths[i]; ++n) {
                segments.position.data()[row++] = static_cast<std::int32_t>(length + n);
            }
            length += lengths[i];
            segments.longest = std::max(segments.longest, length);
            begin_.push_back(row);
        }
        layer_ = 0;
        return segments;
    }

    /// Called by the attention layers in their order: keeps the new keys and values and attends to all of
    /// them. q [T, H head], k and v [T, Hkv head] -> [T, H head]
    Var<Real> attend(Tape& tape, const Var<Real>& q, const Var<Real>& k, const Var<Real>& v,
                     const Segments& segments, const AttentionOptions& options) {
        if (q.needs_gradient() || k.needs_gradient() || v.needs_gradient()) {
            throw Error{ErrorCode::state, "KeyValueCache", "a tape of Mode::inference", "one that records"};
        }
        if (q.value().rows() != begin_.back()) {
            throw Error{ErrorCode::shape, "KeyValueCache",
                        format("{} rows, as extend() was told", begin_.back()),
                        format("{}", q.value().rows())};
        }
        if (layer_ == layers_.size()) layers_.emplace_back(length_.size());
        std::vector<Entry>& entries = layers_[layer_++];
        bool fresh = false;
        for (std::size_t i = 0; i < which_.size(); ++i) {
            const Index from = begin_[i], to = begin_[i + 1];
            entry(entries, i).append(tape, past_[i], k.value().rows(from, to), v.value().rows(from, to));
            fresh = fresh || past_[i] == 0;
        }
        // Of whole sequences the batch is all there is. The rows of the others are written again.
        auto y = fresh ? attention(tape, q, k, v, segments, options) : tape.output<Real>(q.shape(), false);
        for (std::size_t i = 0; i < which_.size(); ++i) {
            if (past_[i] == 0) continue;
            const Index from = begin_[i], to = begin_[i + 1];
            const Entry& kept = entry(entries, i);
            const Index m = past_[i] + to - from;
            attention_decode(tape, q.value().rows(from, to), kept.k.rows(0, m), kept.v.rows(0, m),
                             y.value().rows(from, to), options);
        }
        return y;
    }

private:
    struct Entry {
        Tensor<Real> k, v;  // [capacity, Hkv head]

        void append(Tape& tape, Index past, const Tensor<Real>& keys, const Tensor<Real>& values) {
            put(tape, k, past, keys);
            put(tape, v, past, values);
        }
        static void put(Tape& tape, Tensor<Real>& kept, Index past, const Tensor<Real>& rows) {
            const auto& kernels = attention_decode_slot.get<Real>(tape.device());
            const auto copy = [&](const Tensor<Real>& from, const Tensor<Real>& to) {
                if (from.size() > 0)
                    kernels.keep(tape.stream(), from.template view<2>(), to.template view<2>());
            };
            const Index count = past + rows.extent(0);
            if (!kept.defined() || kept.extent(0) < count) {
                const Index capacity = std::max<Index>(64, 2 * count);
                auto larger = Tensor<Real>::zeros({capacity, rows.extent(1)}, rows.device());
                if (past > 0) copy(kept.rows(0, past), larger.rows(0, past));
                kept = std::move(larger);
            }
            copy(rows, kept.rows(past, count));
        }
    };
    Entry& entry(std::vector<Entry>& entries, std::size_t i) {
        return entries[static_cast<std::size_t>(which_[i])];
    }

    std::vector<Index> length_;               // tokens of each sequence, with those of the current forward
    std::vector<std::vector<Entry>> layers_;  // [layer][sequence]
    // Of the current forward: sequences, tokens of each before it, and the first row of each with the end of
    // the last.
    std::vector<Index> which_, past_, begin_ = {0};
    std::size_t layer_ = 0;
};

}  // namespace moegrad
