#pragma once
// The register tiles of the matrix product: portable here, AVX2 and AVX-512 in
// gemm_x86.hpp, chosen at run time. All give the same bits: one fused
// multiply-add per step, in order of depth.

#include <moegrad/core/error.hpp>
#include <moegrad/cpu/support/gemm_operand.hpp>

#include <array>
#include <cmath>
#include <complex>
#include <cstddef>
#include <utility>

namespace moegrad::cpu {

/// Which micro-kernel runs: for tests and measurements; `automatic` takes the
/// widest that this CPU has.
enum class InstructionSet { automatic, portable, avx2, avx512 };

namespace gemm_detail {

inline float multiply_add(float a, float b, float c) {
    return std::fma(a, b, c);
}
inline double multiply_add(double a, double b, double c) {
    return std::fma(a, b, c);
}
inline std::complex<double> multiply_add(const std::complex<double>& a, const std::complex<double>& b,
                                         const std::complex<double>& c) {
    return {c.real() + (a.real() * b.real() - a.imag() * b.imag()),
            c.imag() + (a.real() * b.imag() + a.imag() * b.real())};
}

inline constexpr Index kMostRows = 14;    // of a register tile
inline constexpr Index kMostWidth = 16;   // lanes of a vector
inline constexpr Index kMostDirect = 32;  // lanes of a direct tile
inline constexpr std::size_t kMostDirectRows = 16;

/// Few rows times lanes whose depth is contiguous, turned into vectors on the
/// way: C [rows, lanes], where value k of a lane is lanes[lane * pitch + k].
template <class T>
struct DirectTile {
    Index depth;
    const T* a;
    Index a_row, a_depth;
    const T* lanes;
    Index pitch;
    T* c;
    Index c_row;
    Write write;
};

/// What an instruction set brings.
template <class T>
struct Kernels {
    using Kernel = void (*)(const Tile<T>&);
    Index most_rows;
    Index width;
    /// kernel[rows - 1][vectors - 1] handles a tile of `rows` rows and `vectors`
    /// * width lanes, vectors 1 or 2.
    std::array<std::array<Kernel, 2>, kMostRows> kernel;
    /// Turns `width` stored rows into columns: packed[step * to_pitch + lane] = rows[lane * pitch + step].
    void (*transpose)(const T* rows, Index pitch, Index depth, Index to_pitch, T* packed);
    /// direct[rows - 1] handles `direct_lanes` lanes; for rows up to direct_rows.
    Index direct_rows;
    std::array<Index, kMostDirectRows> direct_lanes;
    std::array<void (*)(const DirectTile<T>&), kMostDirectRows> direct;
};

template <class T>
struct PortableKernel {
    static constexpr int kRows = 4;
    static constexpr int kWidth = 4;
    static constexpr int kDirectRows = 0;

    static void transpose(const T* rows, Index pitch, Index depth, Index to_pitch, T* packed) {
        for (Index step = 0; step < depth; ++step, packed += to_pitch) {
            for (Index lane = 0; lane < kWidth; ++lane) packed[lane] = rows[lane * pitch + step];
        }
    }

    template <int Rows, int Vectors>
    static void run(const Tile<T>& tile) {
        constexpr int lanes = Vectors * kWidth;
        T sum[Rows][lanes];
        for (int row = 0; row < Rows; ++row) {
            for (int lane = 0; lane < lanes; ++lane) {
                sum[row][lane] = tile.write == Write::accumulate ? tile.c[row * tile.c_row + lane] : T(0);
            }
        }
        for (Index k = 0; k < tile.depth; ++k) {
            const T* b = tile.b + k * tile.b_depth;
            for (int row = 0; row < Rows; ++row) {
                T a = tile.a[row * tile.a_row + k * tile.a_depth];
                for (int lane = 0; lane < lanes; ++lane)
                    sum[row][lane] = multiply_add(a, b[lane], sum[row][lane]);
            }
        }
        for (int row = 0; row < Rows; ++row) {
            for (int lane = 0; lane < lanes; ++lane) tile.c[row * tile.c_row + lane] = sum[row][lane];
        }
    }
};

/// The table of a kernel family: Family::run<rows, vectors> for rows 1 to
/// Family::kRows, Family::direct<rows> for rows 1 to Family::kDirectRows.
template <class T, class Family>
constexpr Kernels<T> make_kernels() {
    Kernels<T> kernels{Family::kRows, Family::kWidth, {}, &Family::transpose, Family::kDirectRows, {}, {}};
    auto fill = [&]<std::size_t... Row>(std::index_sequence<Row...>) {
        ((kernels.kernel[Row] = {&Family::template run<static_cast<int>(Row) + 1, 1>,
                                 &Family::template run<static_cast<int>(Row) + 1, 2>}),
         ...);
    };
    fill(std::make_index_sequence<static_cast<std::size_t>(Family::kRows)>{});
    if constexpr (Family::kDirectRows > 0) {
        auto fill_direct = [&]<std::size_t... Row>(std::index_sequence<Row...>) {
            ((kernels.direct[Row] = &Family::template direct<static_cast<int>(Row) + 1>), ...);
            ((kernels.direct_lanes[Row] = Family::kWidth * Family::direct_groups(static_cast<int>(Row) + 1)),
             ...);
        };
        fill_direct(std::make_index_sequence<static_cast<std::size_t>(Family::kDirectRows)>{});
    }
    return kernels;
}

template <class T, class Family>
inline constexpr Kernels<T> kKernels = make_kernels<T, Family>();

}  // namespace gemm_detail

}  // namespace moegrad::cpu
