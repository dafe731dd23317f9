#pragma once
// StepBatches: the micro-batches of a step on their way to a GPU, padded to few shapes and sent in two pieces.
//
// A padded batch has T' >= T rows, S' > S segments and n' >= n places for supervised rows. Rows T .. T'-1 are a segment of
// their own: valid 0, sample -1, token 0, nothing asked; segments behind it are empty; places n .. n'-1 hold -1. So
// micro-batches of nearly one size have one shape, and one recorded graph serves them all. Padding enters no sum, and is of
// no task. Tasks are sent where a sample of the batch has one.

#include <algorithm>
#include <bit>
#include <compare>
#include <vector>

#include <moegrad/core/transfer.hpp>
#include <moegrad/data/dataset.hpp>

namespace moegrad {

/// Extents of a padded batch. `longest`: every position is below it. `tasks`: whether its segments have tasks.
struct BatchShape {
    Index tokens = 0, segments = 0, rows = 0, longest = 0;
    bool tasks = false;

    auto operator<=>(const BatchShape&) const = default;
};

/// n, or up to a sixteenth more: 16 sizes between one power of two and the next.
inline Index padded_extent(Index n) {
    const auto unit =
        static_cast<Index>(std::bit_floor(static_cast<std::uint64_t>(std::max<Index>(n, 1)))) / 16;
    const Index step = std::max<Index>(unit, 16);
    return (n + step - 1) / step * step;
}

/// Of a batch of T tokens in S segments, n of them supervised.
inline BatchShape padded_shape(Index T, Index S, Index n, Index longest) {
    const Index tokens = padded_extent(T);
    const Index reach = std::max({longest, tokens - T, Index{64}});
    return {tokens, (S / 8 + 1) * 8, padded_extent(n),
            static_cast<Index>(std::bit_ceil(static_cast<std::uint64_t>(reach)))};
}

/// What a batch of this shape takes, in numbers of four bytes and in flags.
inline Index batch_numbers(const BatchShape& shape) {
    const Index tasks = shape.tasks ? shape.segments : 0;
    return (5 * shape.tokens + shape.rows + shape.segments + 1 + tasks + 15) / 16 * 16;
}
inline Index batch_flags(const BatchShape& shape) {
    return shape.tokens;
}

/// A batch whose tensors are windows of `numbers` and `flags`, each of the extent that the shape takes.
inline Batch batch_in(const BatchShape& shape, const Tensor<std::int32_t>& numbers,
                      const Tensor<std::uint8_t>& flags) {
    Index at = 0;
    const auto next = [&](Index n) {
        at += n;
        return numbers.rows(at - n, at);
    };
    Batch batch;
    batch.token = next(shape.tokens);
    batch.target = next(shape.tokens);
    batch.segments.position = next(shape.tokens);
    batch.segments.sample = next(shape.tokens);
    batch.segments.segment = next(shape.tokens);
    batch.row = next(shape.rows);
    batch.segments.begin = next(shape.segments + 1);
    if (shape.tasks) batch.segments.task = next(shape.segments);
    batch.segments.valid = flags.rows(0, shape.tokens);
    batch.segments.longest = shape.longest;
    return batch;
}

/// Rows of `samples` and behind them the padding; `into` is a padded batch on the host.
inline void write_batch(const Dataset& data, std::span<const std::int32_t> samples, const Batch& into) {
    const Segments& to = into.segments;
    const Index T = to.tokens();
    Index row = 0, segment = 0, supervised = 0;
    const auto put = [&](std::int32_t token, std::int32_t target, Index position, std::int32_t sample) {
        into.token.data()[row] = token;
        into.target.data()[row] = target;
        to.position.data()[row] = static_cast<std::int32_t>(position);
        to.sample.data()[row] = sample;
        to.segment.data()[row] = static_cast<std::int32_t>(segment);
        to.valid.data()[row] = sample >= 0;
        if (target != kIgnoreTarget) into.row.data()[supervised++] = static_cast<std::int32_t>(row);
        ++row;
    };
    if (to.task.defined()) std::fill_n(to.task.data(), to.count(), kNoTask);
    for (std::int32_t pick : samples) {
        const Sample& sample = data[static_cast<std::size_t>(pick)];
        to.begin.data()[segment] = static_cast<std::int32_t>(row);
        if (to.task.defined()) to.task.data()[segment] = sample.task;
        for (std::size_t i = 0; i < sample.token.size(); ++i)
            put(sample.token[i], sample.target[i], static_cast<Index>(i), pick);
        ++segment;
    }
    to.begin.data()[segment] = static_cast<std::int32_t>(row);
    const Index padding = T - row;
    for (Index position = 0; position < padding; ++position) put(0, kIgnoreTarget, position, -1);
    std::fill(to.begin.data() + segment + 1, to.begin.data() + to.count() + 1, static_cast<std::int32_t>(T));
    std::fill(into.row.data() + supervised, into.row.data() + into.row.size(), -1);
}

class StepBatches {
public:
    /// Writes and sends one batch per cut; those of the step before are gone then. `data` may change at once.
    void send(const Dataset& data, const std::vector<std::vector<std::int32_t>>& cuts, Device device) {
        shapes_.clear();
        Index numbers = 0, flags = 0;
        for (const auto& picks : cuts) {
            require_samples(data, picks);
            shapes_.push_back(shape_of(data, picks));
            numbers += batch_numbers(shapes_.back());
            flags += batch_flags(shapes_.back());
        }
        make_room(numbers, flags, device);
        for (std::size_t i = 0; i < cuts.size(); ++i) write_batch(data, cuts[i], window(i, host_));
        copy_values(host_.numbers.rows(0, numbers), device_.numbers.rows(0, numbers));
        copy_values(host_.flags.rows(0, flags), device_.flags.rows(0, flags));
    }

    std::size_t count() const { return shapes_.size(); }
    const BatchShape& shape(std::size_t i) const { return shapes_[i]; }
    /// The i-th on the device.
    Batch batch(std::size_t i) const { return window(i, device_); }
    /// Its values into `numbers` and `flags`, of another batch of the same shape.
    void copy_to(std::size_t i, const Tensor<std::int32_t>& numbers,
                 const Tensor<std::uint8_t>& flags) const {
        const auto [first, first_flag] = begin(i);
        copy_values(device_.numbers.rows(first, first + batch_numbers(shapes_[i])), numbers);
        copy_values(device_.flags.rows(first_flag, first_flag + batch_flags(shapes_[i])), flags);
    }

private:
    struct Room {
        Tensor<std::int32_t> numbers;
        Tensor<std::uint8_t> flags;
    };

    /// The longest sample of all batches so far counts, so that shapes soon stay the same.
    BatchShape shape_of(const Dataset& data, std::span<const std::int32_t> picks) {
        Index T = 0, n = 0;
        for (std::int32_t pick : picks) {
            const Sample& sample = data[static_cast<std::size_t>(pick)];
            const auto length = static_cast<Index>(sample.token.size());
            T += length;
            n += sample.supervised();
            longest_ = std::max(longest_, length);
        }
        BatchShape shape = padded_shape(T, static_cast<Index>(picks.size()), n, longest_);
        shape.tasks = any_task(data, picks);
        longest_ = std::max(longest_, shape.longest);
        return shape;
    }

    void make_room(Index numbers, Index flags, Device device) {
        if (host_.numbers.defined() && numbers <= host_.numbers.size() && flags <= host_.flags.size()) return;
        const Index more = host_.numbers.defined() ? 2 : 1;
        host_ = {Tensor<std::int32_t>::zeros({more * numbers}), Tensor<std::uint8_t>::zeros({more * flags})};
        device_ = {Tensor<std::int32_t>::zeros({more * numbers}, device),
                   Tensor<std::uint8_t>::zeros({more * flags}, device)};
    }

    std::pair<Index, Index> begin(std::size_t i) const {
        Index numbers = 0, flags = 0;
        for (std::size_t before = 0; before < i; ++before) {
            numbers += batch_numbers(shapes_[before]);
            flags += batch_flags(shapes_[before]);
        }
        return {numbers, flags};
    }
    Batch window(std::size_t i, const Room& room) const {
        const auto [first, first_flag] = begin(i);
        return batch_in(shapes_[i], room.numbers.rows(first, first + batch_numbers(shapes_[i])),
                        room.flags.rows(first_flag, first_flag + batch_flags(shapes_[i])));
    }

    std::vector<BatchShape> shapes_;
    Room host_, device_;
    Index longest_ = 0;
};

}  // namespace moegrad
