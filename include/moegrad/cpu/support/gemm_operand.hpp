#pragma once
// The two operands of a matrix product as the micro-kernel sees them, and how they are brought into its form.
//
// Each operand is a matrix [i, k]: i is the row of C for A, the column of C for B; k is the contraction. In
// memory either k runs along a stored row (A [M, K], B transposed [N, K]) or i does (A transposed [K, M], B
// [K, N]); stored rows may be picked through a list. One operand is read as scalars ("rows"), the other as
// vectors ("lanes").

#include <moegrad/core/view.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace moegrad::cpu {

namespace gemm_detail {

template <class T>
struct Operand {
    const T* data;
    Index pitch;
    const std::int32_t* rows;  // stored row r is data + rows[r] * pitch; all rows in order when null
    bool depth_contiguous;     // k runs along a stored row

    const T* stored_row(Index r) const { return data + (rows != nullptr ? rows[r] : r) * pitch; }
};

/// One register tile: C [rows, lanes] = or += A [rows, depth] B [depth, lanes], sums in order of depth.
template <class T>
struct Tile {
    Index depth;
    const T* a;
    Index a_row, a_depth;  // strides of a
    const T* b;
    Index b_depth;
    T* c;
    Index c_row;
    Write write;
};

/// Scalars of a tile: where element (row, k) is a[row * a_row + k * a_depth].
template <class T>
struct ScalarBlock {
    const T* a;
    Index a_row, a_depth;
};

/// Stored rows a multiple of 4 KiB apart fall into one set of the first-level cache and push each other out.
template <class T>
bool crowds_the_cache(const Operand<T>& operand) {
    return (operand.pitch * static_cast<Index>(sizeof(T))) % 4096 == 0;
}

/// Scalars are read where they are unless they are listed, transposed or crowd the cache.
template <class T>
bool scalars_in_place(const Operand<T>& a) {
    return a.depth_contiguous && a.rows == nullptr && !crowds_the_cache(a);
}

/// A short copy: constant sizes become a few moves, where std::copy would call memmove.
template <class T>
void copy_run(const T* from, Index count, T* to) {
    constexpr Index chunk = static_cast<Index>(64 / sizeof(T));
    constexpr Index piece = static_cast<Index>(16 / sizeof(T));
    for (; count >= chunk; count -= chunk, from += chunk, to += chunk) std::memcpy(to, from, 64);
    for (; count >= piece; count -= piece, from += piece, to += piece) std::memcpy(to, from, 16);
    for (Index i = 0; i < count; ++i) to[i] = from[i];
}

inline constexpr Index kScalarPad = 16;  // keeps copied rows out of each other's cache sets

/// Elements of scratch that scalars() needs for `rows` rows.
inline Index scalar_scratch(Index rows, Index depth) {
    return rows * (depth + kScalarPad);
}

/// Brings rows [begin, end), depth [k, k + depth) into scratch, or points at them where they are.
template <class T>
ScalarBlock<T> scalars(const Operand<T>& a, Index begin, Index end, Index k, Index depth, T* scratch) {
    if (scalars_in_place(a)) return {a.data + begin * a.pitch + k, a.pitch, 1};
    if (a.depth_contiguous) {
        Index pitch = depth + kScalarPad;
        for (Index row = begin; row < end; ++row) {
            copy_run(a.stored_row(row) + k, depth, scratch + (row - begin) * pitch);
        }
        return {scratch, pitch, 1};
    }
    Index rows = end - begin;
    for (Index step = 0; step < depth; ++step)
        copy_run(a.stored_row(k + step) + begin, rows, scratch + step * rows);
    return {scratch, 1, rows};
}

/// Turns `group` stored rows into columns: packed[step * width + lane] = rows[lane][step].
template <class T>
struct TransposeRows {
    Index group;
    void (*run)(const T* const* rows, Index depth, Index width, T* packed);
};

inline constexpr Index kMostGroup = 8;

/// Packs lanes [begin, end), depth [k, k + depth) as [depth, width], zero beyond end.
template <class T>
void pack_lanes(const Operand<T>& b, const TransposeRows<T>& transpose, Index begin, Index end, Index k,
                Index depth, Index width, T* packed) {
    Index lanes = end - begin;
    if (!b.depth_contiguous) {
        for (Index step = 0; step < depth; ++step) {
            T* to = packed + step * width;
            copy_run(b.stored_row(k + step) + begin, lanes, to);
            for (Index lane = lanes; lane < width; ++lane) to[lane] = T(0);
        }
        return;
    }
    if (lanes < width) std::fill(packed, packed + depth * width, T(0));
    Index lane = 0;
    for (; lane + transpose.group <= lanes; lane += transpose.group) {
        const T* rows[kMostGroup];
        for (Index i = 0; i < transpose.group; ++i) rows[i] = b.stored_row(begin + lane + i) + k;
        transpose.run(rows, depth, width, packed + lane);
    }
    for (; lane < lanes; ++lane) {
        const T* from = b.stored_row(begin + lane) + k;
        for (Index step = 0; step < depth; ++step) packed[step * width + lane] = from[step];
    }
}

/// Scratch that grows and stays: one per thread and purpose, aligned to a cache line.
template <class T, int Purpose>
T* scratch(Index elements) {
    thread_local std::vector<std::byte> storage;
    std::size_t bytes = static_cast<std::size_t>(elements) * sizeof(T) + 64;
    if (storage.size() < bytes) storage = std::vector<std::byte>(bytes);
    std::uintptr_t address = (reinterpret_cast<std::uintptr_t>(storage.data()) + 63) & ~std::uintptr_t{63};
    return reinterpret_cast<T*>(address);
}

}  // namespace gemm_detail

}  // namespace moegrad::cpu
