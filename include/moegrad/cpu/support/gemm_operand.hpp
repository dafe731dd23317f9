#pragma once
// The operands of a matrix product as the micro-kernel sees them.
//
// Each operand is a matrix [i, k]: i is the row of C for A, the column of C for
// B; k is the contraction. In memory either k runs along a stored row (A [M,
// K], B transposed [N, K]) or i does (A transposed [K, M], B [K, N]); stored
// rows may be picked through a list. One operand is read as scalars ("rows"),
// the other as vectors ("lanes").

#include <moegrad/core/view.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace moegrad::cpu {

namespace gemm_detail {

/// Of counts. A division of 64 bits takes many times as long as one of 32 on some CPUs.
inline Index divide(Index a, Index b) {
    if (((a | b) >> 32) != 0) return a / b;
    return static_cast<Index>(static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b));
}
inline Index ceil_divide(Index a, Index b) {
    return divide(a + b - 1, b);
}

template <class T>
struct Operand {
    const T* data;
    Index pitch;
    const std::int32_t* rows;  // stored row r is data + rows[r] * pitch; all rows
                               // in order when null
    bool depth_contiguous;     // k runs along a stored row

    const T* stored_row(Index r) const { return data + (rows != nullptr ? rows[r] : r) * pitch; }
};

/// One register tile: C [rows, lanes] = or += A [rows, depth] B [depth, lanes],
/// sums in order of depth.
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
    Index next;  // the next tile of C is so far behind this one and will be asked for; 0: none
};

/// Scalars of a tile: where element (row, k) is a[row * a_row + k * a_depth].
template <class T>
struct ScalarBlock {
    const T* a;
    Index a_row, a_depth;
};

/// Stored rows a multiple of 4 KiB apart fall into one set of the first-level
/// cache and push each other out.
template <class T>
bool crowds_the_cache(const Operand<T>& operand) {
    return (operand.pitch * static_cast<Index>(sizeof(T))) % 4096 == 0;
}

inline constexpr Index kLineBytes = 64;

/// Asks for a line that a later block will use; a hint, whatever the address.
inline void prefetch(const void* address) {
    __builtin_prefetch(address, 0, 2);  // into the second-level cache
}

/// A short copy: constant sizes become a few moves, where std::copy would call
/// memmove.
template <class T>
void copy_run(const T* from, Index count, T* to) {
    constexpr Index chunk = static_cast<Index>(64 / sizeof(T));
    constexpr Index piece = static_cast<Index>(16 / sizeof(T));
    for (; count >= chunk; count -= chunk, from += chunk, to += chunk) std::memcpy(to, from, 64);
    for (; count >= piece; count -= piece, from += piece, to += piece) std::memcpy(to, from, 16);
    for (Index i = 0; i < count; ++i) to[i] = from[i];
}

/// Scratch that grows and stays: one per thread and purpose, aligned to a cache
/// line.
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
