#pragma once
// gather_segments: where rows of a batch lie when they become a batch of their own. index [N] ascends, its negative entries
// stand at its end:
//   position, sample, token, valid of row i = those of row index[i];   begin[s] = rows whose index is below begin[s]
//   a row without an index belongs to the last segment and is not valid
// An index beyond the batch is an error; on a GPU it takes nothing and sets status()->bad_index.
// What belongs to whole segments stays.

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

/// Rows of a batch as a batch of their own.
struct GatheredRows {
    Segments segments;           // of N rows; `longest` is that of the whole batch
    Tensor<std::int32_t> token;  // [N]; 0 where there is no row
    Tensor<std::int32_t> row;    // [N]  i, or -1 where there is no row
};

/// What kernels get of a batch.
struct SegmentRows {
    View<std::int32_t, 1> begin;                             // [S + 1]
    View<std::int32_t, 1> position, sample, segment, token;  // [T]
    View<std::uint8_t, 1> valid;                             // [T]

    SegmentRows(const Segments& s, const Tensor<std::int32_t>& ids)
        : begin(s.begin.view<1>()),
          position(s.position.view<1>()),
          sample(s.sample.view<1>()),
          segment(s.segment.view<1>()),
          token(ids.view<1>()),
          valid(s.valid.view<1>()) {}

    /// Row i becomes row `from` of another batch, or none.
    MOEGRAD_HD void take(Index i, const SegmentRows& other, std::int32_t from) const {
        const bool there = from >= 0;
        position(i) = there ? other.position(from) : 0;
        sample(i) = there ? other.sample(from) : 0;
        segment(i) = there ? other.segment(from) : static_cast<std::int32_t>(other.begin.extent(0) - 2);
        token(i) = there ? other.token(from) : 0;
        valid(i) = there ? other.valid(from) : std::uint8_t{0};
    }
    /// Of segment s in a batch of the rows `index` of the other; the last one ends behind all rows.
    MOEGRAD_HD void take_begin(Index s, const SegmentRows& other, View<const std::int32_t, 1> index) const {
        const Index N = index.extent(0);
        Index low = 0, high = N;
        while (low < high) {  // the first row at or behind other.begin(s), or of none
            const Index middle = (low + high) / 2;
            if (index(middle) >= 0 && index(middle) < other.begin(s)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        begin(s) = static_cast<std::int32_t>(s + 1 == begin.extent(0) ? N : low);
    }
};

template <class Real>
struct GatherSegmentsKernels {
    void (*gather)(Stream, SegmentRows from, View<const std::int32_t, 1> index, SegmentRows to,
                   View<std::int32_t, 1> row);
};

/// Integers only: the one seat of a device is that of float32.
inline constinit KernelSlot<GatherSegmentsKernels> gather_segments_slot{"gather_segments", Proof::reference};

/// index [N]: rows of a batch with ids token [T].
inline GatheredRows gather_segments(Tape& tape, const Segments& segments, const Tensor<std::int32_t>& token,
                                    const Tensor<std::int32_t>& index) {
    if (index.shape().rank() != 1 || !(token.shape() == Shape{segments.tokens()})) {
        throw Error{ErrorCode::shape, "gather_segments",
                    format("index [N] and token [{}]", segments.tokens()),
                    format("index {}, token {}", index.shape().text(), token.shape().text())};
    }
    const Shape rows{index.extent(0)};
    GatheredRows gathered{{}, tape.make<std::int32_t>(rows), tape.make<std::int32_t>(rows)};
    Segments& to = gathered.segments;
    to = segments;  // what is of whole segments stays
    to.begin = tape.make<std::int32_t>(segments.begin.shape());
    for (auto* part : {&to.position, &to.sample, &to.segment}) *part = tape.make<std::int32_t>(rows);
    to.valid = tape.make<std::uint8_t>(rows);
    gather_segments_slot.get<float>(tape.device())
        .gather(tape.stream(), SegmentRows(segments, token), index.view<1>(), SegmentRows(to, gathered.token),
                gathered.row.view<1>());
    return gathered;
}

}  // namespace moegrad
