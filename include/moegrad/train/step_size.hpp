#pragma once
// The cut of a step into micro-batches, and how much of everything it holds: known before the first of them runs.

#include <string>
#include <vector>

#include <moegrad/data/dataset.hpp>
#include <moegrad/ops/embedding.hpp>

namespace moegrad {

/// The samples of a step, micro-batch by micro-batch.
using MicroBatches = std::vector<std::vector<std::int32_t>>;

/// By these a step's loss and penalties are divided.
struct StepSize {
    Index segments = 0, micro_batches = 0, tokens = 0, supervised = 0;
};

/// `picks` in order, `each` samples a micro-batch.
inline MicroBatches micro_batches(std::span<const std::int32_t> picks, Index each) {
    MicroBatches cuts;
    for (std::size_t i = 0; i < picks.size(); ++i) {
        if (i % static_cast<std::size_t>(each) == 0) cuts.emplace_back();
        cuts.back().push_back(picks[i]);
    }
    return cuts;
}

/// Throws where a sample is not there, or asks nothing and `allow_masked` does not say that it may.
inline StepSize step_size(const Dataset& data, const MicroBatches& cuts, bool allow_masked, Index step) {
    StepSize size;
    size.micro_batches = static_cast<Index>(cuts.size());
    for (const auto& picks : cuts) {
        for (std::int32_t pick : picks) {
            if (pick < 0 || pick >= static_cast<Index>(data.size())) {
                throw Error{ErrorCode::data, format("sample {}", pick),
                            format("one of {} samples", data.size()), "no such sample"};
            }
            const Sample& sample = data[static_cast<std::size_t>(pick)];
            const Index supervised = sample.supervised();
            if (supervised == 0 && !allow_masked) {
                throw Error{ErrorCode::data, format("sample {}", pick), "at least one supervised token",
                            "none"};
            }
            size.tokens += static_cast<Index>(sample.token.size());
            size.supervised += supervised;
        }
        size.segments += static_cast<Index>(picks.size());
    }
    if (size.supervised == 0) {
        throw Error{ErrorCode::data, format("step {}", step),
                    size.segments == 0 ? "at least one sample" : "at least one supervised token",
                    format("{} samples with none", size.segments)};
    }
    return size;
}

/// Of ids that go to a GPU, where no op can look at them.
inline void require_ids(const Sample& sample, Index vocabulary) {
    check_ids(sample.token, vocabulary);
    for (std::size_t t = 0; t < sample.target.size(); ++t) {
        const std::int32_t id = sample.target[t];
        if (id == kIgnoreTarget || (id >= 0 && id < vocabulary)) continue;
        throw Error{ErrorCode::data, "linear_cross_entropy",
                    format("targets in [0, {}) or {}", vocabulary, kIgnoreTarget),
                    format("target {} at position {}", id, t)};
    }
}
inline void require_ids(const Dataset& data, const MicroBatches& cuts, Index vocabulary) {
    for (const auto& picks : cuts)
        for (std::int32_t pick : picks) require_ids(data[static_cast<std::size_t>(pick)], vocabulary);
}

}  // namespace moegrad
