#pragma once
// How the operands of a matrix product are brought into the form of the
// micro-kernel: panels of packed lanes [depth, width], and blocks of scalars.
// Sources are read in runs along their stored rows.

#include <moegrad/cpu/support/gemm_kernel.hpp>
#include <moegrad/cpu/support/gemm_operand.hpp>

#include <algorithm>

namespace moegrad::cpu {

namespace gemm_detail {

/// Lanes [begin, end) in panels of two vectors; the last may have one.
struct Panels {
    Index width;  // of a vector
    Index begin, end;

    Index panel_width() const { return 2 * width; }
    Index count() const { return ceil_divide(end - begin, panel_width()); }
    Index lane(Index panel) const { return begin + panel * panel_width(); }
    Index lanes(Index panel) const { return std::min(panel_width(), end - lane(panel)); }
    /// What a panel takes in memory: its lanes rounded up to whole vectors.
    Index stored(Index panel) const { return lanes(panel) > width ? 2 * width : width; }
    Index stored() const { return ceil_divide(end - begin, width) * width; }
};

inline constexpr Index kScalarPad = 16;  // keeps copied rows out of each other's cache sets

/// Stored rows of lanes at a constant distance.
template <class T>
struct LaneRows {
    const T* first;
    Index pitch;
};

/// `count` rows from depth k on, of which `lanes` exist: where they are, or copied to `room` (count * (depth +
/// pad)) when they are listed or the last has to stand in for those beyond it.
template <class T>
LaneRows<T> lane_rows(const Operand<T>& b, Index lane, Index lanes, Index count, Index k, Index depth,
                      T* room) {
    if (b.rows == nullptr && lanes >= count) return {b.stored_row(lane) + k, b.pitch};
    const Index pitch = depth + kScalarPad;
    for (Index i = 0; i < count; ++i) {
        copy_run(b.stored_row(lane + std::min(i, lanes - 1)) + k, depth, room + i * pitch);
    }
    return {room, pitch};
}

/// Depth runs along the stored rows: a vector of them at a time is turned into columns.
template <class T>
void pack_turned(const Operand<T>& b, const Kernels<T>& kernels, const Panels& panels, Index k, Index depth,
                 T* packed) {
    T* room = scratch<T, 5>(kernels.width * (depth + kScalarPad));
    for (Index panel = 0; panel < panels.count(); ++panel) {
        Index lane = panels.lane(panel), lanes = panels.lanes(panel), pitch = panels.stored(panel);
        for (Index first = 0; first < pitch; first += kernels.width) {
            LaneRows<T> rows = lane_rows(b, lane + first, lanes - first, kernels.width, k, depth, room);
            kernels.transpose(rows.first, rows.pitch, depth, pitch, packed + first);
        }
        packed += pitch * depth;
    }
}

/// Lanes run along the stored rows: a few of those are dealt out to all panels,
/// zeros beyond the last lane.
template <class T>
void pack_straight(const Operand<T>& b, const Panels& panels, Index k, Index depth, T* packed) {
    constexpr Index kRun = 4;
    for (Index first = 0; first < depth; first += kRun) {
        Index last = std::min(first + kRun, depth);
        T* to = packed;
        for (Index panel = 0; panel < panels.count(); ++panel) {
            Index lane = panels.lane(panel), lanes = panels.lanes(panel), pitch = panels.stored(panel);
            for (Index step = first; step < last; ++step) {
                copy_run(b.stored_row(k + step) + lane, lanes, to + step * pitch);
                std::fill(to + step * pitch + lanes, to + (step + 1) * pitch, T(0));
            }
            to += pitch * depth;
        }
    }
}

/// Panel after panel as [depth, stored(panel)]; depth [k, k + depth).
template <class T>
void pack_lanes(const Operand<T>& b, const Kernels<T>& kernels, const Panels& panels, Index k, Index depth,
                T* packed) {
    if (b.depth_contiguous) return pack_turned(b, kernels, panels, k, depth, packed);
    pack_straight(b, panels, k, depth, packed);
}

/// Row tiles are as even as possible: 64 rows in tiles of at most 14 are 13,
/// 13, 13, 13, 12.
struct RowTiles {
    Index first, rows, tiles;
    RowTiles(Index begin_, Index end, Index most)
        : first(begin_), rows(end - begin_), tiles(ceil_divide(rows, most)) {}
    Index begin(Index tile) const { return first + divide(rows * tile, tiles); }
    Index count(Index tile) const { return begin(tile + 1) - begin(tile); }
};

inline constexpr Index kTileRoom = 16;     // rows of a tile, rounded up: copied by constant sizes
inline constexpr Index kMostGroup = 8;     // row tiles whose scalars are brought in at once
inline constexpr Index kNarrowPitch = 64;  // rows this near are read where they are, whatever runs along them

/// The lines of the scalars of a group, asked for bit by bit while the kernel works on the group before.
template <class T>
class ScalarAhead {
public:
    ScalarAhead() = default;
    /// Rows [begin, end), depth [k, k + depth), in `calls` calls of some().
    ScalarAhead(const Operand<T>& a, Index begin, Index end, Index k, Index depth, Index calls) : a_(a) {
        bool along = a.depth_contiguous;
        row_ = along ? begin : k;
        end_ = along ? end : k + depth;
        offset_ = along ? k : begin;
        Index run = along ? depth : end - begin;
        lines_ = ceil_divide(run * static_cast<Index>(sizeof(T)), kLineBytes);
        per_call_ = ceil_divide((end_ - row_) * lines_, calls);
    }
    void some() {
        for (Index i = 0; i < per_call_ && row_ < end_; ++i) {
            prefetch(a_.stored_row(row_) + offset_ + line_ * (kLineBytes / static_cast<Index>(sizeof(T))));
            if (++line_ == lines_) line_ = 0, ++row_;
        }
    }

private:
    Operand<T> a_{};
    Index row_ = 0, end_ = 0, offset_ = 0, lines_ = 0, per_call_ = 0, line_ = 0;
};

/// Elements of scratch that scalars() needs for a group.
inline Index scalar_scratch(Index rows, Index depth) {
    return rows * (depth + kScalarPad);
}

/// Scalars of row tiles [from, to), depth [k, k + depth): read where they are
/// unless they are listed, far apart or crowd the cache.
template <class T>
void scalars(const Operand<T>& a, Index all_rows, const RowTiles& tiles, Index from, Index to, Index k,
             Index depth, T* room, ScalarBlock<T>* block) {
    if (a.rows == nullptr && !a.depth_contiguous && a.pitch <= kNarrowPitch) {
        for (Index t = from; t < to; ++t) block[t - from] = {a.stored_row(k) + tiles.begin(t), 1, a.pitch};
        return;
    }
    if (a.rows == nullptr && a.depth_contiguous && !crowds_the_cache(a)) {
        for (Index t = from; t < to; ++t) block[t - from] = {a.stored_row(tiles.begin(t)) + k, a.pitch, 1};
        return;
    }
    if (a.depth_contiguous) {
        Index pitch = depth + kScalarPad;
        for (Index t = from; t < to; ++t) {
            block[t - from] = {room, pitch, 1};
            for (Index i = 0; i < tiles.count(t); ++i, room += pitch) {
                copy_run(a.stored_row(tiles.begin(t) + i) + k, depth, room);
            }
        }
        return;
    }
    for (Index t = from; t < to; ++t) block[t - from] = {room + (t - from) * kTileRoom * depth, 1, kTileRoom};
    for (Index step = 0; step < depth; ++step, room += kTileRoom) {
        const T* row = a.stored_row(k + step);
        for (Index t = from; t < to; ++t) {
            T* to_tile = room + (t - from) * kTileRoom * depth;
            if (tiles.begin(t) + kTileRoom <= all_rows) {
                std::memcpy(to_tile, row + tiles.begin(t), kTileRoom * sizeof(T));
            } else {
                copy_run(row + tiles.begin(t), tiles.count(t), to_tile);
            }
        }
    }
}

}  // namespace gemm_detail

}  // namespace moegrad::cpu
