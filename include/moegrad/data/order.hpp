#pragma once
// SampleOrder: which samples a step sees. Every epoch is a permutation keyed by (seed, epoch); a step that crosses the
// end of an epoch goes on in the next. Stateless: step n can be computed without the steps before it.

#include <span>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/core/philox.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad {

class SampleOrder {
public:
    SampleOrder(Index samples, Index per_step, std::uint64_t seed)
        : samples_(samples), per_step_(per_step), seed_(seed) {
        if (samples < 1 || per_step < 1) {
            throw Error{ErrorCode::data, "training data", "at least one sample and one sample per step",
                        format("{} samples, {} per step", samples, per_step)};
        }
    }

    /// The samples of step n, counted from 0.
    std::vector<std::int32_t> step(Index n) {
        std::vector<std::int32_t> picks;
        for (Index i = n * per_step_; i < (n + 1) * per_step_; ++i) {
            const Index epoch = i / samples_;
            if (epoch != shuffled_epoch_) shuffle_epoch(epoch);
            picks.push_back(order_[static_cast<std::size_t>(i % samples_)]);
        }
        return picks;
    }
    /// All samples in the order of an epoch.
    std::span<const std::int32_t> epoch_picks(Index epoch) {
        if (epoch != shuffled_epoch_) shuffle_epoch(epoch);
        return order_;
    }
    /// Which epoch step n begins in, from 0.
    Index epoch(Index n) const { return n * per_step_ / samples_; }
    /// Steps that touch every sample `epochs` times (the last one may run into the next epoch).
    Index steps(double epochs) const {
        const double exact = epochs * static_cast<double>(samples_) / static_cast<double>(per_step_);
        const Index whole = static_cast<Index>(exact);
        return whole + (static_cast<double>(whole) < exact);
    }

private:
    void shuffle_epoch(Index epoch) {
        order_.resize(static_cast<std::size_t>(samples_));
        for (Index i = 0; i < samples_; ++i)
            order_[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i);
        Random random(seed_, 0x6f72646572000000ull + static_cast<std::uint64_t>(epoch));
        shuffle(std::span<std::int32_t>(order_), random);
        shuffled_epoch_ = epoch;
    }

    Index samples_, per_step_;
    std::uint64_t seed_;
    Index shuffled_epoch_ = -1;
    std::vector<std::int32_t> order_;
};

}  // namespace moegrad
