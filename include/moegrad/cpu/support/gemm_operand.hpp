#pragma once
// The operands of a matrix product as the micro-kernel sees them.
//
// Each operand is a matrix [i, k]: i is the row of C for A, the column of C for
// B; k is the contraction. In memory either k runs along a stored row (A [M,
// K], B transposed [N, K]) or i does (A transposed [K, M], B [K, N]); stored
// rows may be picked through a list. One operand is read as scalars ("rows"),
// the other as vectors ("lanes").

#include <moegrad/core/pages.hpp>
#include <moegrad/core/view.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

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

/// Pages that grow and go with their thread. A heap would keep each size that they once had.
struct ScratchPages {
    void* place = nullptr;
    std::size_t bytes = 0;

    ScratchPages() = default;
    ScratchPages(const ScratchPages&) = delete;
    ScratchPages& operator=(const ScratchPages&) = delete;
    ~ScratchPages() { give_back(); }

    void* reach(std::size_t wanted) {
        if (wanted <= bytes) return place;
        give_back();
        place = pages::map(wanted);
        if (place == nullptr) throw std::bad_alloc();
        bytes = wanted;
        return place;
    }

private:
    void give_back() {
        if (bytes > 0) pages::unmap(place, bytes);
        bytes = 0;
    }
};

/// Scratch that grows and stays: one per thread and purpose, aligned to a page.
template <class T, int Purpose>
T* scratch(Index elements) {
    thread_local ScratchPages storage;
    return static_cast<T*>(storage.reach(static_cast<std::size_t>(elements) * sizeof(T)));
}

}  // namespace gemm_detail

}  // namespace moegrad::cpu
