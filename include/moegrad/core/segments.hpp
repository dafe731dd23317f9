#pragma once
// Segments: which rows of a [T, D] batch belong together. A batch is never [B, S]: sequences of any lengths lie one
// after another, attention never crosses a segment, positions restart in each.

#include <algorithm>
#include <span>
#include <vector>

#include <moegrad/core/transfer.hpp>

namespace moegrad {

/// A target that asks for nothing: the token is not supervised (PyTorch's ignore index).
inline constexpr std::int32_t kIgnoreTarget = -100;
/// A sample that belongs to no task.
inline constexpr std::int32_t kNoTask = -1;

struct Segments {
    Tensor<std::int32_t> begin;     // [S + 1]  first row of each segment; begin[S] = T
    Tensor<std::int32_t> position;  // [T]      position inside its segment, from 0
    Tensor<std::int32_t> sample;    // [T]      id of the data sample: keys dropout, whatever batch it is in
    Tensor<std::int32_t> segment;   // [T]      segment of each row
    Tensor<std::uint8_t>
        valid;                  // [T]      0 for padding: no expert, no penalty, no statistic, seen by nobody
    Tensor<std::int32_t> task;  // [S]      task of each segment, or kNoTask; undefined: of none
    // Every position is below it. On the host: where the positions lie on a GPU, nobody else can say how far the rotary
    // table must reach.
    Index longest = 0;

    Index count() const { return begin.defined() ? begin.extent(0) - 1 : 0; }
    Index tokens() const { return position.defined() ? position.extent(0) : 0; }

    /// Segments of the given lengths, all rows valid. sample ids default to 0, 1, 2, ...
    static Segments of_lengths(std::span<const Index> lengths, std::span<const std::int32_t> samples = {}) {
        const Index S = static_cast<Index>(lengths.size());
        Index T = 0;
        Segments s;
        for (Index length : lengths) {
            T += length;
            s.longest = std::max(s.longest, length);
        }
        s.begin = Tensor<std::int32_t>::zeros({S + 1});
        s.position = Tensor<std::int32_t>::zeros({T});
        s.sample = Tensor<std::int32_t>::zeros({T});
        s.segment = Tensor<std::int32_t>::zeros({T});
        s.valid = Tensor<std::uint8_t>::zeros({T});
        Index row = 0;
        for (Index i = 0; i < S; ++i) {
            const auto at = static_cast<std::size_t>(i);
            for (Index p = 0; p < lengths[at]; ++p, ++row) {
                s.position.data()[row] = static_cast<std::int32_t>(p);
                s.segment.data()[row] = static_cast<std::int32_t>(i);
                s.sample.data()[row] = samples.empty() ? static_cast<std::int32_t>(i) : samples[at];
                s.valid.data()[row] = 1;
            }
            s.begin.data()[i + 1] = static_cast<std::int32_t>(row);
        }
        return s;
    }
    static Segments of_lengths(std::initializer_list<Index> lengths) {
        return of_lengths(std::span<const Index>(lengths.begin(), lengths.size()));
    }

    /// The task of every segment; nothing where none of them has one. On the host.
    void set_tasks(std::span<const std::int32_t> tasks) {
        task = {};
        if (std::all_of(tasks.begin(), tasks.end(), [](std::int32_t id) { return id == kNoTask; })) return;
        task = Tensor<std::int32_t>::zeros({count()});
        std::copy_n(tasks.begin(), count(), task.data());
    }
};

/// Whether row t counts: all do where `valid` is empty.
MOEGRAD_HD constexpr bool is_valid(View<const std::uint8_t, 1> valid, Index t) {
    return valid.size() == 0 || valid(t) != 0;
}

/// On `device`; what is there already stays.
inline Segments placed(const Segments& segments, Device device) {
    Segments there = segments;
    there.begin = placed(segments.begin, device);
    there.position = placed(segments.position, device);
    there.sample = placed(segments.sample, device);
    there.segment = placed(segments.segment, device);
    there.valid = placed(segments.valid, device);
    if (segments.task.defined()) there.task = placed(segments.task, device);
    return there;
}

}  // namespace moegrad
