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
    Index tile_rows = 1;    // of a register tile
    Index group_tiles = 1;  // row tiles whose scalars are brought in at once
    Index depth_block = 0, row_tasks = 1, lane_tasks = 1;
    T* packed = nullptr;  // shared: blocks of depth, of which each holds all panels
    Index first_task = 0, first_pack = 0;

    Index tasks() const { return row_tasks * lane_tasks; }
    Index depth_blocks() const { return ceil_divide(depth, depth_block); }
    Panels panels() const { return {kernels->width, 0, lane_count}; }
};

inline constexpr Index kDepthBlock = 256;          // a packed panel of 32 float lanes is then 32 KiB
inline constexpr Index kBlockBytes = 512 << 10;    // of packed lanes: half a second-level cache
inline constexpr Index kStreamBytes = 2 << 10;     // of each stored row that is read side by side with others
inline constexpr Index kShallowBytes = 256 << 10;  // of packed lanes where C is most of the traffic
inline constexpr Index kSharedBytes = 2 << 20;     // shared packing stays in the caches of all
inline constexpr Index kStreamDepth = 32;          // stored rows that are read side by side
inline constexpr Index kFewTiles = 2;              // row tiles for which lanes are not worth packing
inline constexpr Index kFewPanels = 2;  // panels for which a row tile is best done over all of K at once
inline constexpr Index kShallow = 32;   // depth below which reading and writing C is most of the work
inline constexpr Index kSerialWork = 1 << 19;  // multiply-adds below which one thread does it all

template <class T>
bool may_go_direct(const Product<T>& p) {
    return p.lanes.depth_contiguous && p.row_count <= p.kernels->direct_rows;
}

/// Cycles, roughly: two multiply-adds or two loads per cycle in tiles of two vectors, what it costs to bring a
/// value of either operand into the kernel's form, and to turn C.
template <class T>
double estimate(const Product<T>& p) {
    double rows = static_cast<double>(p.row_count), lanes = static_cast<double>(p.lane_count);
    double tiles = static_cast<double>(ceil_divide(p.row_count, p.kernels->most_rows));
    double vectors = static_cast<double>(ceil_divide(p.lane_count, p.kernels->width));
    double panels = static_cast<double>(ceil_divide(p.lane_count, 2 * p.kernels->width));
    double work = std::max(0.5 * rows * vectors, 0.5 * (rows * panels + vectors * tiles));
    double bring = lanes * (!p.lanes.depth_contiguous ? 0.1 : may_go_direct(p) ? 0.2 : 0.3);
    if (p.rows.pitch > kNarrowPitch) bring += rows * (p.rows.depth_contiguous ? 0.5 : 0.3);
    double turn = p.c_lane == 1 ? 0.0 : 2.0 * rows * lanes;
    return static_cast<double>(p.depth) * (work + bring) + turn;
}

/// Lanes that stand together anyway, or will be used too little to be packed.
template <class T>
bool lanes_in_place(const Product<T>& p) {
    if (p.lanes.depth_contiguous || p.lanes.rows != nullptr) return false;
    if (ceil_divide(p.row_count, p.kernels->most_rows) <= kFewTiles) return true;
    if (p.lane_count % p.kernels->width != 0) return false;
    Index bytes = p.depth * p.lanes.pitch * static_cast<Index>(sizeof(T));
    return p.lanes.pitch <= kNarrowPitch || (bytes <= kBlockBytes / 8 && !crowds_the_cache(p.lanes));
}

template <class T>
void plan_direct(Product<T>& p, Index wanted) {
    p.feed = Feed::direct;
    p.tile_rows = p.row_count;
    p.depth_block = p.depth;
    Index group = p.kernels->direct_lanes[static_cast<std::size_t>(p.row_count - 1)];
    p.lane_tasks = std::min(ceil_divide(p.lane_count, group), std::max(wanted, p.lane_count / 1024));
}

/// Depth in even blocks.
inline Index even_depth(Index depth, Index block) {
    return std::min(depth, ceil_divide(ceil_divide(depth, ceil_divide(depth, block)), 8) * 8);
}

template <class T>
void plan(Product<T>& p, Index wanted) {
    if (may_go_direct(p)) return plan_direct(p, wanted);
    const Index size = static_cast<Index>(sizeof(T)), panel = 2 * p.kernels->width;
    const Index panels = ceil_divide(p.lane_count, panel);
    const bool in_place = lanes_in_place(p);
    p.feed = in_place ? Feed::in_place : Feed::packed;
    p.tile_rows = p.kernels->most_rows;
    p.group_tiles = p.rows.depth_contiguous ? 1 : kMostGroup;
    Index lane_block = 0;
    if (ceil_divide(p.row_count, p.tile_rows) <= kFewTiles) {  // streams over the lanes
        p.depth_block = even_depth(p.depth, in_place ? kStreamDepth : kDepthBlock);
        lane_block = kStreamBytes / size;
    } else if (panels <= kFewPanels) {  // streams over the rows
        p.depth_block = even_depth(p.depth, kDepthBlock / 2);
        lane_block = p.lane_count;
        if (!in_place) p.feed = Feed::shared;
        wanted = ceil_divide(p.row_count, p.tile_rows * (p.rows.depth_contiguous ? 1 : kMostGroup));
    } else if (p.depth <= kShallow) {  // streams over C
        p.depth_block = p.depth;
        lane_block = kShallowBytes / size / p.depth;
        if (!in_place) p.feed = Feed::shared;
    } else {
        p.depth_block = even_depth(p.depth, kDepthBlock);
        lane_block = kBlockBytes / size / p.depth_block;
    }
    const Index tiles = ceil_divide(p.row_count, p.tile_rows);
    p.lane_tasks = std::min(panels, ceil_divide(p.lane_count, std::max(panel, lane_block)));
    p.row_tasks = std::min(tiles, ceil_divide(wanted, p.lane_tasks));
    if (p.row_tasks * p.lane_tasks < wanted)
        p.lane_tasks = std::min(panels, ceil_divide(wanted, p.row_tasks));
    if (p.feed == Feed::packed && p.row_tasks > 1) {
        bool share = p.lane_count * p.depth * size <= kSharedBytes;
        if (share) p.feed = Feed::shared;
        if (!share) p.row_tasks = std::max<Index>(1, std::min(p.row_tasks, p.row_count / 96));
    }
    if (p.c_lane != 1) p.row_tasks = std::max(p.row_tasks, ceil_divide(p.row_count, 128));
}

}  // namespace gemm_detail

}  // namespace moegrad::cpu
