#pragma once
// Kernels of the matrix product for AVX2 + FMA, float and double. The text of gemm_avx2.hpp and gemm_avx512.hpp
// differs in names and in the instruction set that each function names: nothing here may run before
// supported() (gemm_x86.hpp) has said yes.
//
// In tile_sum, sum[I] belongs to row I / Vectors and vector I % Vectors; the packs keep every index constant,
// so that the array lives in registers. Rows are addressed from every third one: base, base + stride, base +
// 2 stride are address modes, and the bases of 14 rows fit the integer registers. In direct_sum, sum[I]
// belongs to row I % Rows and group of lanes I / Rows.

#include <moegrad/cpu/support/gemm_kernel.hpp>
#include <moegrad/cpu/support/gemm_vectors_x86.hpp>

#if defined(__x86_64__)

namespace moegrad::cpu::gemm_detail {

/// AVX2 + FMA: tiles of 6 rows x 2 vectors.
template <class V>
struct Avx2Kernel {
    using T = typename V::Value;
    using Vector = typename V::Vector;
    static constexpr int kRows = 6, kWidth = V::kWidth, kSteps = V::kSteps, kDirectRows = V::kDirectRows;
    static constexpr int kHalfRows = 8;  // rows whose sums stay in registers beside a block of columns
    using Steps = std::make_index_sequence<static_cast<std::size_t>(kSteps)>;
    /// One row alone is one chain per vector: a second group of lanes hides its latency.
    static constexpr int direct_groups(int rows) { return rows == 1 ? 2 : 1; }

    template <int Rows, int Vectors>
    static void run(const Tile<T>& tile) {
        tile_sum<Rows, Vectors>(tile, std::make_index_sequence<static_cast<std::size_t>(Rows * Vectors)>{},
                                std::make_index_sequence<static_cast<std::size_t>((Rows + 2) / 3)>{});
    }
    template <int Rows>
    static void direct(const DirectTile<T>& tile) {
        constexpr std::size_t groups = static_cast<std::size_t>(direct_groups(Rows));
        direct_sum<Rows>(tile, std::make_index_sequence<static_cast<std::size_t>(Rows) * groups>{},
                         std::make_index_sequence<groups>{});
    }
    static void transpose(const T* rows, Index pitch, Index depth, Index to_pitch, T* packed) {
        turn(rows, pitch, depth, to_pitch, packed, Steps{});
    }

    template <int Rows, int Vectors, std::size_t... I, std::size_t... G>
    [[gnu::target("avx2,fma")]] static void tile_sum(const Tile<T>& tile, std::index_sequence<I...>,
                                                     std::index_sequence<G...>) {
        Index c_row = tile.c_row, a_row = tile.a_row, a_depth = tile.a_depth, b_depth = tile.b_depth;
        T* c[sizeof...(G)] = {tile.c + static_cast<Index>(3 * G) * c_row...};
        Vector sum[sizeof...(I)];
        if (tile.write == Write::accumulate) {
            ((sum[I] = V::load(at<Vectors, I>(c, c_row))), ...);
        } else {
            ((sum[I] = V::zero()), ...);
        }
        if (tile.next > 0) (prefetch(at<Vectors, I>(c, c_row) + tile.next), ...);
        const T* a[sizeof...(G)] = {tile.a + static_cast<Index>(3 * G) * a_row...};
        const T* b = tile.b;
        for (Index k = 0; k < tile.depth; ++k) {
            ((sum[I] = V::fma(V::all(a[I / Vectors / 3] + static_cast<Index>(I / Vectors % 3) * a_row),
                              V::load(b + (I % Vectors) * kWidth), sum[I])),
             ...);
            ((a[G] += a_depth), ...);
            b += b_depth;
        }
        (V::store(at<Vectors, I>(c, c_row), sum[I]), ...);
    }
    /// Vector I of a tile of C, from the pointers to every third row.
    template <int Vectors, std::size_t I>
    [[gnu::always_inline]] static T* at(T* const* c, Index c_row) {
        return c[I / Vectors / 3] + static_cast<Index>(I / Vectors % 3) * c_row + (I % Vectors) * kWidth;
    }

    template <int Rows, std::size_t... I, std::size_t... G>
    [[gnu::target("avx2,fma")]] static void direct_sum(const DirectTile<T>& tile, std::index_sequence<I...>,
                                                       std::index_sequence<G...>) {
        T* c = tile.c;
        Vector sum[sizeof...(I)];
        if (tile.write == Write::accumulate) {
            ((sum[I] = V::load(c + static_cast<Index>(I % Rows) * tile.c_row + (I / Rows) * kWidth)), ...);
        } else {
            ((sum[I] = V::zero()), ...);
        }
        const T* a = tile.a;
        Index k = 0;
        const Index group = kWidth * tile.pitch;
        for (; k + kSteps <= tile.depth; k += kSteps, a += kSteps * tile.a_depth) {
            (block<Rows>(tile, tile.lanes + k + static_cast<Index>(G) * group, tile.pitch, a, kSteps,
                         sum + G * Rows),
             ...);
        }
        if (k < tile.depth) {
            Rest rest(tile.lanes + k, tile.pitch, static_cast<Index>(sizeof...(G)) * kWidth, tile.depth - k);
            (block<Rows>(tile, rest.value + G * (kWidth * kSteps), kSteps, a, tile.depth - k, sum + G * Rows),
             ...);
        }
        (V::store(c + static_cast<Index>(I % Rows) * tile.c_row + (I / Rows) * kWidth, sum[I]), ...);
    }

    /// `steps` steps of depth for one group of lanes.
    template <int Rows>
    [[gnu::target("avx2,fma"), gnu::always_inline]] static void block(const DirectTile<T>& tile,
                                                                      const T* lanes, Index pitch, const T* a,
                                                                      Index steps, Vector* sum) {
        Vector column[kSteps];
        V::columns(lanes, pitch, column);
        if (Rows <= kHalfRows) return some_rows<Rows>(a, tile, steps, column, sum, Steps{});
        some_rows<kHalfRows>(a, tile, steps, column, sum, Steps{});
        some_rows<(Rows > kHalfRows ? Rows - kHalfRows : 1)>(a + kHalfRows * tile.a_row, tile, steps, column,
                                                             sum + kHalfRows, Steps{});
    }
    template <int Rows, std::size_t... S>
    [[gnu::target("avx2,fma"), gnu::always_inline]] static void some_rows(const T* a,
                                                                          const DirectTile<T>& tile,
                                                                          Index steps, const Vector* column,
                                                                          Vector* sum,
                                                                          std::index_sequence<S...>) {
        ((static_cast<Index>(S) < steps
              ? one_step(a + static_cast<Index>(S) * tile.a_depth, tile.a_row, column[S], sum,
                         std::make_index_sequence<static_cast<std::size_t>(Rows)>{})
              : void()),
         ...);
    }
    template <std::size_t... R>
    [[gnu::target("avx2,fma"), gnu::always_inline]] static void one_step(const T* a, Index a_row,
                                                                         Vector column, Vector* sum,
                                                                         std::index_sequence<R...>) {
        ((sum[R] = V::fma(V::all(a + static_cast<Index>(R) * a_row), column, sum[R])), ...);
    }

    /// The last values of each lane, where fewer than kSteps are left: those beyond are never used.
    struct Rest {
        T value[kMostDirect * kSteps];
        Rest(const T* lanes, Index pitch, Index count, Index steps) {
            for (Index i = 0; i < count; ++i) {
                for (Index step = 0; step < kSteps; ++step) {
                    value[i * kSteps + step] = step < steps ? lanes[i * pitch + step] : T(0);
                }
            }
        }
    };

    template <std::size_t... S>
    [[gnu::target("avx2,fma")]] static void turn(const T* rows, Index pitch, Index depth, Index to_pitch,
                                                 T* packed, std::index_sequence<S...>) {
        Vector column[kSteps];
        Index k = 0;
        for (; k + kSteps <= depth; k += kSteps) {
            V::columns(rows + k, pitch, column);
            (V::store(packed + (k + static_cast<Index>(S)) * to_pitch, column[S]), ...);
        }
        if (k == depth) return;
        Rest rest(rows + k, pitch, kWidth, depth - k);
        V::columns(rest.value, kSteps, column);
        for (Index step = 0; k + step < depth; ++step) V::store(packed + (k + step) * to_pitch, column[step]);
    }
};

}  // namespace moegrad::cpu::gemm_detail

#endif
