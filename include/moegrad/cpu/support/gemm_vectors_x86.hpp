#pragma once
// Vectors of x86 for the matrix product: AVX2 + FMA and AVX-512F, float and
// double. Each function names its instruction set, so that this compiles in a
// translation unit for plain x86-64.
//
// columns<I>: kSteps values of each of kWidth rows, turned: out[step][lane] =
// row[lane][at + step]. Pieces of 16 bytes of several rows are joined on load,
// which leaves eight shuffles inside 16 bytes per four vectors.

#include <moegrad/core/view.hpp>

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <utility>

#define MOEGRAD_AVX2 [[gnu::target("avx2,fma"), gnu::always_inline]] static
#define MOEGRAD_AVX512 [[gnu::target("avx512f"), gnu::always_inline]] static

namespace moegrad::cpu::gemm_detail {

struct Avx2Float {
    using Value = float;
    using Vector = __m256;
    static constexpr int kWidth = 8, kSteps = 4, kDirectRows = 8;
    MOEGRAD_AVX2 Vector zero() { return _mm256_setzero_ps(); }
    MOEGRAD_AVX2 Vector load(const float* p) { return _mm256_loadu_ps(p); }
    MOEGRAD_AVX2 Vector all(const float* p) { return _mm256_set1_ps(*p); }
    MOEGRAD_AVX2 void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
    MOEGRAD_AVX2 Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }

    MOEGRAD_AVX2 Vector join(const float* p, Index pitch) {
        return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * pitch), 1);
    }
    MOEGRAD_AVX2 void columns(const float* p, Index pitch, Vector* out) {
        Vector a = join(p, pitch), b = join(p + pitch, pitch);
        Vector c = join(p + 2 * pitch, pitch), d = join(p + 3 * pitch, pitch);
        Vector ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
        Vector cd_low = _mm256_unpacklo_ps(c, d), cd_high = _mm256_unpackhi_ps(c, d);
        out[0] = _mm256_shuffle_ps(ab_low, cd_low, 0x44);
        out[1] = _mm256_shuffle_ps(ab_low, cd_low, 0xee);
        out[2] = _mm256_shuffle_ps(ab_high, cd_high, 0x44);
        out[3] = _mm256_shuffle_ps(ab_high, cd_high, 0xee);
    }
};

struct Avx2Double {
    using Value = double;
    using Vector = __m256d;
    static constexpr int kWidth = 4, kSteps = 2, kDirectRows = 1;
    MOEGRAD_AVX2 Vector zero() { return _mm256_setzero_pd(); }
    MOEGRAD_AVX2 Vector load(const double* p) { return _mm256_loadu_pd(p); }
    MOEGRAD_AVX2 Vector all(const double* p) { return _mm256_set1_pd(*p); }
    MOEGRAD_AVX2 void store(double* p, Vector v) { _mm256_storeu_pd(p, v); }
    MOEGRAD_AVX2 Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_pd(a, b, c); }

    MOEGRAD_AVX2 Vector join(const double* p, Index pitch) {
        return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + 2 * pitch), 1);
    }
    MOEGRAD_AVX2 void columns(const double* p, Index pitch, Vector* out) {
        Vector even = join(p, pitch), odd = join(p + pitch, pitch);
        out[0] = _mm256_unpacklo_pd(even, odd);
        out[1] = _mm256_unpackhi_pd(even, odd);
    }
};

// Shuffles by __builtin_shufflevector: the unmasked intrinsics of g++ 12 warn
// of their own undefined source.
struct Avx512Float {
    using Value = float;
    using Vector = __m512;
    static constexpr int kWidth = 16, kSteps = 16, kDirectRows = 16;
    MOEGRAD_AVX512 Vector zero() { return _mm512_setzero_ps(); }
    MOEGRAD_AVX512 Vector load(const float* p) { return _mm512_loadu_ps(p); }
    MOEGRAD_AVX512 Vector all(const float* p) { return _mm512_set1_ps(*p); }
    MOEGRAD_AVX512 void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
    MOEGRAD_AVX512 Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }

    MOEGRAD_AVX512 Vector join(const float* p, Index pitch) {
        Vector v = _mm512_castps128_ps512(_mm_loadu_ps(p));
        v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 4 * pitch), 1);
        v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 8 * pitch), 2);
        return _mm512_insertf32x4(v, _mm_loadu_ps(p + 12 * pitch), 3);
    }
    MOEGRAD_AVX512 Vector low(Vector a, Vector b) {
        return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
    }
    MOEGRAD_AVX512 Vector high(Vector a, Vector b) {
        return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    }
    MOEGRAD_AVX512 Vector first_pairs(Vector a, Vector b) {
        return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
    }
    MOEGRAD_AVX512 Vector second_pairs(Vector a, Vector b) {
        return __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
    MOEGRAD_AVX512 void turn(const Vector* z, Vector* out) {
        Vector ab_low = low(z[0], z[1]), ab_high = high(z[0], z[1]);
        Vector cd_low = low(z[2], z[3]), cd_high = high(z[2], z[3]);
        out[0] = first_pairs(ab_low, cd_low);
        out[1] = second_pairs(ab_low, cd_low);
        out[2] = first_pairs(ab_high, cd_high);
        out[3] = second_pairs(ab_high, cd_high);
    }
    template <std::size_t... I>
    MOEGRAD_AVX512 void columns(const float* p, Index pitch, Vector* out, std::index_sequence<I...>) {
        Vector z[16];  // a whole line of each row at once: rows a multiple of 4 KiB apart share a cache set
        ((z[I % 4 * 4 + I / 4] = join(p + static_cast<Index>(I / 4) * pitch + I % 4 * 4, pitch)), ...);
        turn(z, out), turn(z + 4, out + 4), turn(z + 8, out + 8), turn(z + 12, out + 12);
    }
    MOEGRAD_AVX512 void columns(const float* p, Index pitch, Vector* out) {
        columns(p, pitch, out, std::make_index_sequence<16>{});
    }
};

struct Avx512Double {
    using Value = double;
    using Vector = __m512d;
    static constexpr int kWidth = 8, kSteps = 2, kDirectRows = 1;
    MOEGRAD_AVX512 Vector zero() { return _mm512_setzero_pd(); }
    MOEGRAD_AVX512 Vector load(const double* p) { return _mm512_loadu_pd(p); }
    MOEGRAD_AVX512 Vector all(const double* p) { return _mm512_set1_pd(*p); }
    MOEGRAD_AVX512 void store(double* p, Vector v) { _mm512_storeu_pd(p, v); }
    MOEGRAD_AVX512 Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_pd(a, b, c); }

    MOEGRAD_AVX512 __m128 pair(const double* p) { return _mm_castpd_ps(_mm_loadu_pd(p)); }
    MOEGRAD_AVX512 Vector join(const double* p, Index pitch) {
        __m512 v = _mm512_castps128_ps512(pair(p));
        v = _mm512_insertf32x4(v, pair(p + 2 * pitch), 1);
        v = _mm512_insertf32x4(v, pair(p + 4 * pitch), 2);
        return _mm512_castps_pd(_mm512_insertf32x4(v, pair(p + 6 * pitch), 3));
    }
    MOEGRAD_AVX512 void columns(const double* p, Index pitch, Vector* out) {
        Vector even = join(p, pitch), odd = join(p + pitch, pitch);
        out[0] = __builtin_shufflevector(even, odd, 0, 8, 2, 10, 4, 12, 6, 14);
        out[1] = __builtin_shufflevector(even, odd, 1, 9, 3, 11, 5, 13, 7, 15);
    }
};

}  // namespace moegrad::cpu::gemm_detail

#undef MOEGRAD_AVX2
#undef MOEGRAD_AVX512

#endif
