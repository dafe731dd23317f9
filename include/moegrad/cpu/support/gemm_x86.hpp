#pragma once
// Register tiles for x86: AVX2 + FMA (6 rows x 2 vectors) and AVX-512F (14 rows x 2 vectors), float and
// double. Each function names its instruction set, so that this compiles in a translation unit for plain
// x86-64; nothing here may run before supported() has said yes.

#include <moegrad/cpu/support/gemm_kernel.hpp>

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <utility>

namespace moegrad::cpu::gemm_detail {

struct Avx2Float {
    using Value = float;
    using Vector = __m256;
    static constexpr int kWidth = 8;
    [[gnu::target("avx2,fma"), gnu::always_inline]] static Vector zero() { return _mm256_setzero_ps(); }
    [[gnu::target("avx2,fma"), gnu::always_inline]] static Vector load(const float* p) {
        return _mm256_loadu_ps(p);
    }
    [[gnu::target("avx2,fma"), gnu::always_inline]] static Vector all(const float* p) {
        return _mm256_set1_ps(*p);
    }
    [[gnu::target("avx2,fma"), gnu::always_inline]] static void store(float* p, Vector v) {
        _mm256_storeu_ps(p, v);
    }
    [[gnu::target("avx2,fma"), gnu::always_inline]] static Vector fma(Vector a, Vector b, Vector c) {
        return _mm256_fmadd_ps(a, b, c);
    }
};

struct Avx2Double {
    using Value = double;
    using Vector = __m256d;
    static constexpr int kWidth = 4;
    [[gnu::target("avx2,fma"), gnu::always_inline]] static Vector zero() { return _mm256_setzero_pd(); }
    [[gnu::target("avx2,fma"), gnu::always_inline]] static Vector load(const double* p) {
        return _mm256_loadu_pd(p);
    }
    [[gnu::target("avx2,fma"), gnu::always_inline]] static Vector all(const double* p) {
        return _mm256_set1_pd(*p);
    }
    [[gnu::target("avx2,fma"), gnu::always_inline]] static void store(double* p, Vector v) {
        _mm256_storeu_pd(p, v);
    }
    [[gnu::target("avx2,fma"), gnu::always_inline]] static Vector fma(Vector a, Vector b, Vector c) {
        return _mm256_fmadd_pd(a, b, c);
    }
};

struct Avx512Float {
    using Value = float;
    using Vector = __m512;
    static constexpr int kWidth = 16;
    [[gnu::target("avx512f"), gnu::always_inline]] static Vector zero() { return _mm512_setzero_ps(); }
    [[gnu::target("avx512f"), gnu::always_inline]] static Vector load(const float* p) {
        return _mm512_loadu_ps(p);
    }
    [[gnu::target("avx512f"), gnu::always_inline]] static Vector all(const float* p) {
        return _mm512_set1_ps(*p);
    }
    [[gnu::target("avx512f"), gnu::always_inline]] static void store(float* p, Vector v) {
        _mm512_storeu_ps(p, v);
    }
    [[gnu::target("avx512f"), gnu::always_inline]] static Vector fma(Vector a, Vector b, Vector c) {
        return _mm512_fmadd_ps(a, b, c);
    }
};

struct Avx512Double {
    using Value = double;
    using Vector = __m512d;
    static constexpr int kWidth = 8;
    [[gnu::target("avx512f"), gnu::always_inline]] static Vector zero() { return _mm512_setzero_pd(); }
    [[gnu::target("avx512f"), gnu::always_inline]] static Vector load(const double* p) {
        return _mm512_loadu_pd(p);
    }
    [[gnu::target("avx512f"), gnu::always_inline]] static Vector all(const double* p) {
        return _mm512_set1_pd(*p);
    }
    [[gnu::target("avx512f"), gnu::always_inline]] static void store(double* p, Vector v) {
        _mm512_storeu_pd(p, v);
    }
    [[gnu::target("avx512f"), gnu::always_inline]] static Vector fma(Vector a, Vector b, Vector c) {
        return _mm512_fmadd_pd(a, b, c);
    }
};

[[gnu::target("avx2"), gnu::always_inline]] inline __m256 join(const float* low, const float* high) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}

/// Eight rows of float to columns, 8 x 8 at a time. Halves are joined on load, which leaves 16 shuffles for
/// 64 values.
[[gnu::target("avx2")]] inline void transpose_rows(const float* const* rows, Index depth, Index width,
                                                   float* packed) {
    Index step = 0;
    for (; step + 8 <= depth; step += 8) {
        for (Index half = 0; half < 8; half += 4) {
            Index at = step + half;
            __m256 a = join(rows[0] + at, rows[4] + at), b = join(rows[1] + at, rows[5] + at);
            __m256 c = join(rows[2] + at, rows[6] + at), d = join(rows[3] + at, rows[7] + at);
            __m256 ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
            __m256 cd_low = _mm256_unpacklo_ps(c, d), cd_high = _mm256_unpackhi_ps(c, d);
            float* to = packed + at * width;
            _mm256_storeu_ps(to, _mm256_shuffle_ps(ab_low, cd_low, 0x44));
            _mm256_storeu_ps(to + width, _mm256_shuffle_ps(ab_low, cd_low, 0xee));
            _mm256_storeu_ps(to + 2 * width, _mm256_shuffle_ps(ab_high, cd_high, 0x44));
            _mm256_storeu_ps(to + 3 * width, _mm256_shuffle_ps(ab_high, cd_high, 0xee));
        }
    }
    for (; step < depth; ++step) {
        for (Index lane = 0; lane < 8; ++lane) packed[step * width + lane] = rows[lane][step];
    }
}

/// Four rows of double to columns, 4 x 2 at a time.
[[gnu::target("avx2")]] inline void transpose_rows(const double* const* rows, Index depth, Index width,
                                                   double* packed) {
    Index step = 0;
    for (; step + 2 <= depth; step += 2) {
        __m256d even = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(rows[0] + step)),
                                            _mm_loadu_pd(rows[2] + step), 1);
        __m256d odd = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(rows[1] + step)),
                                           _mm_loadu_pd(rows[3] + step), 1);
        _mm256_storeu_pd(packed + step * width, _mm256_unpacklo_pd(even, odd));
        _mm256_storeu_pd(packed + (step + 1) * width, _mm256_unpackhi_pd(even, odd));
    }
    for (; step < depth; ++step) {
        for (Index lane = 0; lane < 4; ++lane) packed[step * width + lane] = rows[lane][step];
    }
}

// In both kernels sum[I] belongs to row I / Vectors and vector I % Vectors; the packs keep every index
// constant, so that the array lives in registers. Rows are addressed from every third one: base, base +
// stride, base + 2 stride are address modes, and the bases of 14 rows fit the integer registers.

template <class V>
struct Avx2Kernel {
    using T = typename V::Value;
    static constexpr int kRows = 6;
    static constexpr int kWidth = V::kWidth;
    static constexpr Index kTransposeGroup = static_cast<Index>(32 / sizeof(T));
    static void transpose(const T* const* rows, Index depth, Index width, T* packed) {
        transpose_rows(rows, depth, width, packed);
    }

    template <int Rows, int Vectors>
    static void run(const Tile<T>& tile) {
        tile_sum<Rows, Vectors>(tile, std::make_index_sequence<static_cast<std::size_t>(Rows * Vectors)>{},
                                std::make_index_sequence<static_cast<std::size_t>((Rows + 2) / 3)>{});
    }

    template <int Rows, int Vectors, std::size_t... I, std::size_t... G>
    [[gnu::target("avx2,fma")]] static void tile_sum(const Tile<T>& tile, std::index_sequence<I...>,
                                                     std::index_sequence<G...>) {
        T* c = tile.c;
        Index c_row = tile.c_row, a_row = tile.a_row, a_depth = tile.a_depth, b_depth = tile.b_depth;
        typename V::Vector sum[sizeof...(I)];
        if (tile.write == Write::accumulate) {
            ((sum[I] = V::load(c + static_cast<Index>(I / Vectors) * c_row + (I % Vectors) * kWidth)), ...);
        } else {
            ((sum[I] = V::zero()), ...);
        }
        const T* a[sizeof...(G)] = {tile.a + static_cast<Index>(3 * G) * a_row...};
        const T* b = tile.b;
        for (Index k = 0; k < tile.depth; ++k) {
            ((sum[I] = V::fma(V::all(a[I / Vectors / 3] + static_cast<Index>(I / Vectors % 3) * a_row),
                              V::load(b + (I % Vectors) * kWidth), sum[I])),
             ...);
            ((a[G] += a_depth), ...);
            b += b_depth;
        }
        (V::store(c + static_cast<Index>(I / Vectors) * c_row + (I % Vectors) * kWidth, sum[I]), ...);
    }
};

template <class V>
struct Avx512Kernel {
    using T = typename V::Value;
    static constexpr int kRows = 14;
    static constexpr int kWidth = V::kWidth;
    static constexpr Index kTransposeGroup = static_cast<Index>(32 / sizeof(T));
    static void transpose(const T* const* rows, Index depth, Index width, T* packed) {
        transpose_rows(rows, depth, width, packed);
    }

    template <int Rows, int Vectors>
    static void run(const Tile<T>& tile) {
        tile_sum<Rows, Vectors>(tile, std::make_index_sequence<static_cast<std::size_t>(Rows * Vectors)>{},
                                std::make_index_sequence<static_cast<std::size_t>((Rows + 2) / 3)>{});
    }

    template <int Rows, int Vectors, std::size_t... I, std::size_t... G>
    [[gnu::target("avx512f")]] static void tile_sum(const Tile<T>& tile, std::index_sequence<I...>,
                                                    std::index_sequence<G...>) {
        T* c = tile.c;
        Index c_row = tile.c_row, a_row = tile.a_row, a_depth = tile.a_depth, b_depth = tile.b_depth;
        typename V::Vector sum[sizeof...(I)];
        if (tile.write == Write::accumulate) {
            ((sum[I] = V::load(c + static_cast<Index>(I / Vectors) * c_row + (I % Vectors) * kWidth)), ...);
        } else {
            ((sum[I] = V::zero()), ...);
        }
        const T* a[sizeof...(G)] = {tile.a + static_cast<Index>(3 * G) * a_row...};
        const T* b = tile.b;
        for (Index k = 0; k < tile.depth; ++k) {
            ((sum[I] = V::fma(V::all(a[I / Vectors / 3] + static_cast<Index>(I / Vectors % 3) * a_row),
                              V::load(b + (I % Vectors) * kWidth), sum[I])),
             ...);
            ((a[G] += a_depth), ...);
            b += b_depth;
        }
        (V::store(c + static_cast<Index>(I / Vectors) * c_row + (I % Vectors) * kWidth, sum[I]), ...);
    }
};

inline bool supported(InstructionSet set) {
    if (set == InstructionSet::avx512) return __builtin_cpu_supports("avx512f");
    if (set == InstructionSet::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return true;
}

inline const Kernels<float>& vector_kernels(float, InstructionSet set) {
    if (set == InstructionSet::avx512) return kKernels<float, Avx512Kernel<Avx512Float>>;
    return kKernels<float, Avx2Kernel<Avx2Float>>;
}
inline const Kernels<double>& vector_kernels(double, InstructionSet set) {
    if (set == InstructionSet::avx512) return kKernels<double, Avx512Kernel<Avx512Double>>;
    return kKernels<double, Avx2Kernel<Avx2Double>>;
}

}  // namespace moegrad::cpu::gemm_detail

#else

namespace moegrad::cpu::gemm_detail {

inline bool supported(InstructionSet set) {
    return set == InstructionSet::automatic || set == InstructionSet::portable;
}
template <class T>
const Kernels<T>& vector_kernels(T, InstructionSet) {
    return kKernels<T, PortableKernel<T>>;
}

}  // namespace moegrad::cpu::gemm_detail

#endif
