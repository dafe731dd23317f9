#pragma once
// One task of a matrix product: a rectangle of C over the whole depth, block by
// block. What it computes depends on nothing that another task does.

#include <moegrad/cpu/support/gemm_plan.hpp>

#include <algorithm>

namespace moegrad::cpu {

namespace gemm_detail {

/// The rectangle, and where its C is: element (row, lane) at c[(row - row0) *
/// c_row + lane - lane0].
template <class T>
struct Part {
    RowTiles tiles;
    Panels panels;
    T* c;
    Index c_row;

    T* at(Index row, Index lane) const { return c + (row - tiles.first) * c_row + (lane - panels.begin); }
};

template <class T>
void load_turned(const Product<T>& p, const Part<T>& part) {
    for (Index row = part.tiles.first; row < part.tiles.first + part.tiles.rows; ++row) {
        const T* from = p.c + row * p.c_row;
        T* to = part.at(row, part.panels.begin);
        for (Index lane = part.panels.begin; lane < part.panels.end; ++lane) *to++ = from[lane * p.c_lane];
    }
}

template <class T>
void store_turned(const Product<T>& p, const Part<T>& part) {
    Index row = 0, width = p.kernels->width, lanes = part.panels.end - part.panels.begin;
    T* c = p.c + part.tiles.first * p.c_row + part.panels.begin * p.c_lane;
    for (; row + width <= part.tiles.rows; row += width) {
        p.kernels->transpose(part.c + row * part.c_row, part.c_row, lanes, p.c_lane, c + row);
    }
    for (Index lane = 0; lane < lanes; ++lane) {
        for (Index i = row; i < part.tiles.rows; ++i) c[lane * p.c_lane + i] = part.c[i * part.c_row + lane];
    }
}

/// Runs one register tile; one at the edge passes through a buffer.
template <class T>
void run_tile(const Kernels<T>& kernels, Tile<T>& tile, T* c, Index c_row, Index rows, Index lanes) {
    Index vectors = lanes > kernels.width ? 2 : 1, width = vectors * kernels.width;
    auto kernel = kernels.kernel[static_cast<std::size_t>(rows - 1)][static_cast<std::size_t>(vectors - 1)];
    tile.c = c;
    tile.c_row = c_row;
    if (lanes == width) return kernel(tile);

    alignas(64) T buffer[kMostRows * 2 * kMostWidth] = {};
    for (Index i = 0; i < rows && tile.write == Write::accumulate; ++i) {
        std::copy_n(c + i * c_row, lanes, buffer + i * width);
    }
    tile.c = buffer;
    tile.c_row = width;
    kernel(tile);
    for (Index i = 0; i < rows; ++i) std::copy_n(buffer + i * width, lanes, c + i * c_row);
}

/// Where a panel stands over one block of depth, and how far its steps of depth
/// are apart.
template <class T>
struct PanelView {
    const T* b;
    Index b_depth;
};

template <class T>
PanelView<T> view_panel(const Product<T>& p, const Part<T>& part, Index panel, Index k, Index depth,
                        const T* packed, T* own) {
    Index stored = part.panels.stored(panel), lane = part.panels.lane(panel);
    if (p.feed != Feed::in_place) return {packed + (lane - part.panels.begin) * depth, stored};
    if (part.panels.lanes(panel) == stored) return {p.lanes.stored_row(k) + lane, p.lanes.pitch};
    pack_straight(p.lanes, {p.kernels->width, lane, part.panels.end}, k, depth, own);
    return {own, stored};
}

/// What run_depth will need after group `to` of row tiles: the next group, or the first over the next depth.
template <class T>
ScalarAhead<T> next_scalars(const Product<T>& p, const Part<T>& part, Index to, Index k, Index depth,
                            Index calls) {
    const RowTiles& tiles = part.tiles;
    if (to < tiles.tiles) {
        Index end = tiles.begin(std::min(to + p.group_tiles, tiles.tiles));
        return {p.rows, tiles.begin(to), end, k, depth, calls};
    }
    Index next = k + depth, end = tiles.begin(std::min(p.group_tiles, tiles.tiles));
    if (next >= p.depth) return {};
    return {p.rows, tiles.first, end, next, std::min(p.depth_block, p.depth - next), calls};
}

/// All tiles of the part over depth [k, k + depth).
template <class T>
void run_depth(const Product<T>& p, const Part<T>& part, Index k, Index depth, const T* packed, T* own) {
    const Write write = k == 0 ? p.write : Write::accumulate;
    const RowTiles& tiles = part.tiles;
    const Index panels = part.panels.count();
    T* room = scratch<T, 0>(scalar_scratch(kTileRoom * p.group_tiles, depth));
    for (Index from = 0; from < tiles.tiles; from += p.group_tiles) {
        Index to = std::min(from + p.group_tiles, tiles.tiles);
        ScalarBlock<T> scalar[kMostGroup];
        scalars(p.rows, p.row_count, tiles, from, to, k, depth, room, scalar);
        ScalarAhead<T> ahead = next_scalars(p, part, to, k, depth, (to - from) * panels);
        for (Index t = from; t < to; ++t) {
            const ScalarBlock<T>& s = scalar[t - from];
            const Index rows = tiles.count(t);
            T* c = part.at(tiles.begin(t), part.panels.begin);
            for (Index panel = 0; panel < panels; ++panel, c += part.panels.panel_width()) {
                PanelView<T> view = view_panel(p, part, panel, k, depth, packed, own);
                Index next = panel + 1 < panels ? part.panels.panel_width() : 0;
                Tile<T> tile{depth, s.a, s.a_row, s.a_depth, view.b, view.b_depth, nullptr, 0, write, next};
                ahead.some();
                run_tile(*p.kernels, tile, c, part.c_row, rows, part.panels.lanes(panel));
            }
        }
    }
}

/// Few rows: groups of lanes one after another, each over the whole depth.
template <class T>
void run_direct(const Product<T>& p, const Part<T>& part) {
    RowTiles one(part.tiles.first, part.tiles.first + part.tiles.rows, part.tiles.rows);
    T* room = scratch<T, 0>(scalar_scratch(kTileRoom, p.depth));
    ScalarBlock<T> scalar;
    scalars(p.rows, p.row_count, one, 0, 1, 0, p.depth, room, &scalar);
    std::size_t rows = static_cast<std::size_t>(p.row_count);
    Index group = p.kernels->direct_lanes[rows - 1];
    T* copies = scratch<T, 5>(group * (p.depth + kScalarPad));
    for (Index lane = part.panels.begin; lane < part.panels.end; lane += group) {
        Index lanes = std::min(group, part.panels.end - lane);
        LaneRows<T> lane_row = lane_rows(p.lanes, lane, lanes, group, 0, p.depth, copies);
        alignas(64) T buffer[kMostDirectRows * kMostDirect];
        T* c = part.at(one.first, lane);
        for (Index i = 0; i < p.row_count && lanes < group && p.write == Write::accumulate; ++i) {
            std::copy_n(c + i * part.c_row, lanes, buffer + i * group);
            std::fill_n(buffer + i * group + lanes, group - lanes, T(0));
        }
        bool whole = lanes == group;
        DirectTile<T> tile{p.depth,        scalar.a,       scalar.a_row,       scalar.a_depth,
                           lane_row.first, lane_row.pitch, whole ? c : buffer, whole ? part.c_row : group,
                           p.write};
        p.kernels->direct[rows - 1](tile);
        for (Index i = 0; i < p.row_count && !whole; ++i) {
            std::copy_n(buffer + i * group, lanes, c + i * part.c_row);
        }
    }
}

template <class T>
void run_blocks(const Product<T>& p, const Part<T>& part) {
    if (p.feed == Feed::direct) return run_direct(p, part);
    Index stored = p.feed == Feed::packed ? part.panels.stored() : 2 * p.kernels->width;
    T* own = scratch<T, 1>(stored * p.depth_block);
    for (Index k = 0; k < p.depth; k += p.depth_block) {
        Index depth = std::min(p.depth_block, p.depth - k);
        const T* packed = own;
        if (p.feed == Feed::packed) pack_lanes(p.lanes, *p.kernels, part.panels, k, depth, own);
        if (p.feed == Feed::shared) packed = p.packed + p.panels().stored() * k + part.panels.begin * depth;
        run_depth(p, part, k, depth, packed, own);
    }
}

template <class T>
void run_task(const Product<T>& p, Index task) {
    Index row_task = task % p.row_tasks, lane_task = task / p.row_tasks;
    Index panel_width = p.feed == Feed::direct
                            ? p.kernels->direct_lanes[static_cast<std::size_t>(p.row_count - 1)]
                            : 2 * p.kernels->width;
    Index panels = ceil_divide(p.lane_count, panel_width);
    auto lane = [&](Index t) { return std::min(p.lane_count, panels * t / p.lane_tasks * panel_width); };
    RowTiles all(0, p.row_count, p.tile_rows);
    auto row = [&](Index t) { return all.begin(all.tiles * t / p.row_tasks); };

    Part<T> part{RowTiles(row(row_task), row(row_task + 1), p.tile_rows),
                 Panels{p.kernels->width, lane(lane_task), lane(lane_task + 1)}, nullptr, p.c_row};
    if (p.c_lane == 1) {
        part.c = p.c + part.tiles.first * p.c_row + part.panels.begin;
        return run_blocks(p, part);
    }
    part.c_row = part.panels.stored();
    part.c = scratch<T, 2>(part.tiles.rows * part.c_row);
    if (p.write == Write::accumulate) load_turned(p, part);
    run_blocks(p, part);
    store_turned(p, part);
}

/// Panels of one block of depth, for Feed::shared.
template <class T>
void run_pack(const Product<T>& p, Index block) {
    Index k = block * p.depth_block, depth = std::min(p.depth_block, p.depth - k);
    pack_lanes(p.lanes, *p.kernels, p.panels(), k, depth, p.packed + p.panels().stored() * k);
}

}  // namespace gemm_detail

}  // namespace moegrad::cpu
