#pragma once
// Dataset: samples of token ids with a target per token, and the batches that a step is cut into.
// target[t] is the id that should follow token t; kIgnoreTarget where nothing is asked.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/core/segments.hpp>

namespace moegrad {

struct Sample {
    std::vector<std::int32_t> token, target;  // of equal length
    std::int32_t task = kNoTask;              // what routers that ask for a task are told

    Index supervised() const {
        Index n = 0;
        for (std::int32_t id : target) n += id != kIgnoreTarget;
        return n;
    }
};

using Dataset = std::vector<Sample>;

/// Next-token prediction on a whole sequence: the last token has no target.
inline Sample language_sample(std::vector<std::int32_t> token) {
    Sample sample;
    sample.target.assign(token.begin() + (token.empty() ? 0 : 1), token.end());
    if (!token.empty()) sample.target.push_back(kIgnoreTarget);
    sample.token = std::move(token);
    return sample;
}

/// A text's ids cut into samples of `length` tokens; `prefix` (BOS, say) starts each. What is left over at the end
/// becomes a shorter sample when it has at least two tokens.
inline Dataset text_samples(std::span<const std::int32_t> ids, Index length,
                            std::span<const std::int32_t> prefix = {}) {
    const Index body = length - static_cast<Index>(prefix.size());
    if (length < 2 || body < 1) {
        throw Error{ErrorCode::config, "data.max_length", format("at least {}", prefix.size() + 2),
                    format("{}", length)};
    }
    Dataset samples;
    for (std::size_t begin = 0; begin < ids.size(); begin += static_cast<std::size_t>(body)) {
        const std::size_t end = std::min(ids.size(), begin + static_cast<std::size_t>(body));
        std::vector<std::int32_t> token(prefix.begin(), prefix.end());
        token.insert(token.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin),
                     ids.begin() + static_cast<std::ptrdiff_t>(end));
        if (token.size() >= 2) samples.push_back(language_sample(std::move(token)));
    }
    return samples;
}

/// One micro-batch: the rows of its samples one after another.
struct Batch {
    Tensor<std::int32_t> token, target;  // [T]
    Segments segments;
    Tensor<std::int32_t> row =
        {};  // [n]  the supervised rows in order, then -1; not there where `target` is on the host
};

inline void require_samples(const Dataset& data, std::span<const std::int32_t> picks) {
    for (std::int32_t pick : picks) {
        const bool known = pick >= 0 && pick < static_cast<Index>(data.size());
        if (known && data[static_cast<std::size_t>(pick)].token.size() ==
                         data[static_cast<std::size_t>(pick)].target.size()) {
            continue;
        }
        throw Error{ErrorCode::data, format("sample {}", pick),
                    format("one of {} samples, with as many targets as tokens", data.size()),
                    known ? "token and target of different lengths" : "no such sample"};
    }
}

/// Whether one of them has a task: the segments of a batch have tasks then.
inline bool any_task(const Dataset& data, std::span<const std::int32_t> picks) {
    return std::any_of(picks.begin(), picks.end(), [&](std::int32_t pick) {
        return data[static_cast<std::size_t>(pick)].task != kNoTask;
    });
}

/// `picks` are indices into the dataset; they are the sample ids that key dropout.
inline Batch make_batch(const Dataset& data, std::span<const std::int32_t> picks) {
    require_samples(data, picks);
    std::vector<Index> lengths;
    Index T = 0;
    for (std::int32_t pick : picks) {
        lengths.push_back(static_cast<Index>(data[static_cast<std::size_t>(pick)].token.size()));
        T += lengths.back();
    }
    Batch batch{Tensor<std::int32_t>::zeros({T}), Tensor<std::int32_t>::zeros({T}),
                Segments::of_lengths(lengths, picks)};
    Index row = 0;
    std::vector<std::int32_t> tasks;
    for (std::int32_t pick : picks) {
        const Sample& sample = data[static_cast<std::size_t>(pick)];
        tasks.push_back(sample.task);
        std::copy(sample.token.begin(), sample.token.end(), batch.token.data() + row);
        std::copy(sample.target.begin(), sample.target.end(), batch.target.data() + row);
        row += static_cast<Index>(sample.token.size());
    }
    batch.segments.set_tasks(tasks);
    return batch;
}

}  // namespace moegrad
