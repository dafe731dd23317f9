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
    Index stored(Index panel) const { return ceil_divide(lanes(panel), width) * width; }
    Index stored() const { return ceil_divide(end - begin, width) * width; }
};

/// The rows of up to one vector of lanes; beyond `lanes` the last is repeated.
template <class T>
void lane_rows(const Operand<T>& b, Index lane, Index lanes, Index k, Index count, const T** row) {
    for (Index i = 0; i < count; ++i) row[i] = b.stored_row(lane + std::min(i, lanes - 1)) + k;
}

/// Depth runs along the stored rows: a vector of them at a time is turned into
/// columns.
template <class T>
void pack_turned(const Operand<T>& b, const Kernels<T>& kernels, const Panels& panels, Index k, Index depth,
                 T* packed) {
    const T* row[kMostWidth];
    for (Index panel = 0; panel < panels.count(); ++panel) {
        Index lane = panels.lane(panel), lanes = panels.lanes(panel), pitch = panels.stored(panel);
        for (Index first = 0; first < pitch; first += kernels.width) {
            lane_rows(b, lane + first, lanes - first, k, kernels.width, row);
            kernels.transpose(row, depth, pitch, packed + first);
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
    Index begin(Index tile) const { return first + rows * tile / tiles; }
    Index count(Index tile) const { return begin(tile + 1) - begin(tile); }
};

inline constexpr Index kScalarPad = 16;    // keeps copied rows out of each other's cache sets
inline constexpr Index kGroupTiles = 8;    // row tiles whose scalars are brought in at once
inline constexpr Index kNarrowPitch = 64;  // rows this near are read where they are, whatever runs along them

/// Elements of scratch that scalars() needs for a group.
inline Index scalar_scratch(Index most_rows, Index depth) {
    return kGroupTiles * most_rows * (depth + kScalarPad);
}

/// Scalars of row tiles [from, to), depth [k, k + depth): read where they are
/// unless they are listed, far apart or crowd the cache.
template <class T>
void scalars(const Operand<T>& a, const RowTiles& tiles, Index from, Index to, Index k, Index depth, T* room,
             ScalarBlock<T>* block) {
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
    T* to_tile[kGroupTiles];
    for (Index t = from; t < to; ++t) {
        block[t - from] = {room, 1, tiles.count(t)};
        to_tile[t - from] = room;
        room += tiles.count(t) * depth;
    }
    for (Index step = 0; step < depth; ++step) {
        const T* row = a.stored_row(k + step);
        for (Index t = from; t < to; ++t) {
            copy_run(row + tiles.begin(t), tiles.count(t), to_tile[t - from] + step * tiles.count(t));
        }
    }
}

}  // namespace gemm_detail

}  // namespace moegrad::cpu
