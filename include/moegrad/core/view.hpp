#pragma once
// View<T, Rank>: pointer, extents and one pitch. Row-major; the rows of the last axis are `pitch` elements apart
// (pitch >= last extent, so that a matrix may sit inside a wider one, [W | sB]); all outer axes are dense above that.
// Kernels take views and nothing else. A View never owns.

#include <array>
#include <cstdint>
#include <type_traits>

#include <moegrad/core/config.hpp>

namespace moegrad {

using Index = std::int64_t;

/// How a kernel writes a gradient: the first contribution overwrites, later ones add.
enum class Write { overwrite, accumulate };

/// A rectangle of a matrix: rows [row_begin, row_end), columns [column_begin, column_end).
struct Block {
    Index row_begin = 0, row_end = 0, column_begin = 0, column_end = 0;
};

template <class T, int Rank>
struct View {
    static_assert(Rank >= 1 && Rank <= 4);

    T* data = nullptr;
    std::array<Index, Rank> extents{};
    Index pitch = 0;

    constexpr View() = default;
    constexpr View(T* data_, std::array<Index, Rank> extents_)
        : data(data_), extents(extents_), pitch(extents_[Rank - 1]) {}
    constexpr View(T* data_, std::array<Index, Rank> extents_, Index pitch_)
        : data(data_), extents(extents_), pitch(pitch_) {}

    /// A mutable view is also a const one; never the other way.
    template <class U = T>
    requires(!std::is_const_v<U>) MOEGRAD_HD constexpr operator View<const U, Rank>() const {
        return {data, extents, pitch};
    }

    MOEGRAD_HD constexpr Index extent(int axis) const { return extents[static_cast<std::size_t>(axis)]; }
    MOEGRAD_HD constexpr bool empty() const { return data == nullptr || size() == 0; }
    MOEGRAD_HD constexpr Index size() const {
        Index n = 1;
        for (int axis = 0; axis < Rank; ++axis) n *= extent(axis);
        return n;
    }
    /// Number of rows when all outer axes are folded into one: [.., columns] -> [rows, columns].
    MOEGRAD_HD constexpr Index rows() const {
        Index n = 1;
        for (int axis = 0; axis + 1 < Rank; ++axis) n *= extent(axis);
        return n;
    }
    MOEGRAD_HD constexpr Index columns() const { return extent(Rank - 1); }
    MOEGRAD_HD constexpr bool dense() const { return pitch == columns() || rows() <= 1; }
    MOEGRAD_HD constexpr T* row(Index r) const { return data + r * pitch; }

    MOEGRAD_HD constexpr T& operator()(Index i) const requires(Rank == 1) { return data[i]; }
    MOEGRAD_HD constexpr T& operator()(Index i, Index j) const requires(Rank == 2) {
        return data[i * pitch + j];
    }
    MOEGRAD_HD constexpr T& operator()(Index i, Index j, Index k) const requires(Rank == 3) {
        return data[(i * extents[1] + j) * pitch + k];
    }
    /// The i-th matrix of a stack: [E, rows, columns] -> [rows, columns].
    MOEGRAD_HD constexpr View<T, 2> slice(Index i) const requires(Rank == 3) {
        return {data + i * extents[1] * pitch, {extents[1], extents[2]}, pitch};
    }
};

}  // namespace moegrad
