#pragma once
// How a matrix product is cut: which operand is read as vectors, how it reaches
// the kernel, and the tasks for the threads. None of it can change a bit of the
// result.

#include <moegrad/cpu/support/gemm_pack.hpp>

#include <algorithm>

namespace moegrad::cpu {

namespace gemm_detail {

/// How lanes reach the kernel.
enum class Feed {
    direct,    // few rows, depth along the stored rows: turned into vectors on the
               // way, no packing
    in_place,  // few rows, lanes along the stored rows: read where they are
    packed,    // every task packs its block
    shared     // packed once, before the tasks
};

/// A product with its roles fixed: rows are read as scalars, lanes as vectors.
/// C element (row, lane) is c[row * c_row + lane * c_lane]; one of the strides
/// is 1.
template <class T>
struct Product {
    const Kernels<T>* kernels;
    Operand<T> rows, lanes;
    Index row_count, lane_count, depth;
    T* c;
    Index c_row, c_lane;
    Write write;

    Feed feed = Feed::packed;
    Index depth_block = 0, row_tasks = 1, lane_tasks = 1;
    T* packed = nullptr;  // shared: blocks of depth, of which each holds all panels
    Index first_task = 0, first_pack = 0;

    Index tasks() const { return row_tasks * lane_tasks; }
    Index depth_blocks() const { return ceil_divide(depth, depth_block); }
    Panels panels() const { return {kernels->width, 0, lane_count}; }
};

inline constexpr Index kDepthBlock = 256;        // a packed panel of 32 float lanes is then 32 KiB
inline constexpr Index kBlockBytes = 512 << 10;  // of packed lanes: half a second-level cache
inline constexpr Index kSharedBytes = 2 << 20;   // shared packing stays in the caches of all
inline constexpr Index kStreamDepth = 32;        // stored rows that are read side by side
inline constexpr Index kStreamTiles = 2;         // row tiles for which lanes are not worth packing
inline constexpr Index kSerialWork = 1 << 19;    // multiply-adds below which one thread does it all

/// Cycles, roughly: two multiply-adds or two loads per cycle in tiles of two
/// vectors, what it costs to bring a value of either operand into the kernel's
/// form, and to turn C.
template <class T>
double estimate(const Product<T>& p) {
    double rows = static_cast<double>(p.row_count), lanes = static_cast<double>(p.lane_count);
    double tiles = static_cast<double>(ceil_divide(p.row_count, p.kernels->most_rows));
    double vectors = static_cast<double>(ceil_divide(p.lane_count, p.kernels->width));
    double panels = static_cast<double>(ceil_divide(p.lane_count, 2 * p.kernels->width));
    double work = std::max(0.5 * rows * vectors, 0.5 * (rows * panels + vectors * tiles));
    double bring =
        lanes * (p.lanes.depth_contiguous ? 0.3 : 0.1) + rows * (p.rows.depth_contiguous ? 0 : 0.3);
    double turn = p.c_lane == 1 ? 0.0 : 2.0 * rows * lanes;
    return static_cast<double>(p.depth) * (work + bring) + turn;
}

template <class T>
Feed choose_feed(const Product<T>& p) {
    if (p.lanes.depth_contiguous) return p.row_count <= p.kernels->direct_rows ? Feed::direct : Feed::packed;
    if (p.lanes.rows != nullptr) return Feed::packed;
    Index tiles = ceil_divide(p.row_count, p.kernels->most_rows);
    Index bytes = p.depth * p.lane_count * static_cast<Index>(sizeof(T));
    // A panel that is not whole would be padded again for every row tile.
    bool whole = p.lane_count % p.kernels->width == 0;
    bool near = whole && bytes <= kBlockBytes / 8 && !crowds_the_cache(p.lanes);
    return tiles <= kStreamTiles || near ? Feed::in_place : Feed::packed;
}

template <class T>
void cut_depth(Product<T>& p) {
    Index block = kDepthBlock;
    if (p.feed == Feed::direct) block = p.depth;
    if (p.feed == Feed::in_place && ceil_divide(p.row_count, p.kernels->most_rows) <= kStreamTiles) {
        block = kStreamDepth;
    }
    block = ceil_divide(p.depth, ceil_divide(p.depth, block));
    p.depth_block = std::min(p.depth, ceil_divide(block, 8) * 8);
}

/// `wanted` tasks, or as many as pay. A task packs its own lanes, so it should
/// have rows enough to use them.
template <class T>
void cut_tasks(Product<T>& p, Index wanted) {
    Index size = static_cast<Index>(sizeof(T));
    Index panel = p.feed == Feed::direct ? p.kernels->direct_lanes[static_cast<std::size_t>(p.row_count - 1)]
                                         : 2 * p.kernels->width;
    Index panels = ceil_divide(p.lane_count, panel);
    Index tiles = ceil_divide(p.row_count, p.kernels->most_rows);
    Index lane_block = std::max(panel, kBlockBytes / size / p.depth_block);
    if (p.feed == Feed::in_place) lane_block = std::max(panel, 2048 / size);
    if (p.feed == Feed::direct) lane_block = p.lane_count;
    p.lane_tasks = std::min(panels, ceil_divide(p.lane_count, lane_block));
    p.row_tasks = std::min(tiles, ceil_divide(wanted, p.lane_tasks));
    if (p.row_tasks < wanted / p.lane_tasks) p.lane_tasks = std::min(panels, wanted);

    if (p.feed == Feed::packed && p.row_tasks > 1) {
        if (p.lane_count * p.depth * size <= kSharedBytes) {
            p.feed = Feed::shared;
        } else {
            p.row_tasks = std::max<Index>(1, std::min(p.row_tasks, p.row_count / 96));
        }
    }
    if (p.c_lane != 1) p.row_tasks = std::max(p.row_tasks, ceil_divide(p.row_count, 128));
}

template <class T>
void plan(Product<T>& p, Index wanted) {
    p.feed = choose_feed(p);
    cut_depth(p);
    cut_tasks(p, wanted);
}

}  // namespace gemm_detail

}  // namespace moegrad::cpu
