#pragma once
// The matrix product of the CPU side.   C [M, N] = A [M, K] B [K, N]   or   C += A B
//
// Every element is one chain of fused multiply-adds in order of k that starts from C (accumulate) or 0
// (overwrite):
//   C[m, n] = fma(A[m, K-1], B[K-1, n], ... fma(A[m, 0], B[0, n], C0))
// so the bits depend on neither threads, nor M, N, nor tiling, nor instruction set, and a sum over k may be
// cut into calls that accumulate. (std::complex: the same chain without fusing.)
//
// Method: the product is cut into register tiles of rows x lanes. Lanes (columns of C, or its rows when that
// is cheaper: the chain is symmetric) are packed as [depth, lanes]; rows are read as scalars, mostly in
// place. What is cut where depends on the shape alone.

#include <moegrad/core/error.hpp>
#include <moegrad/core/thread_pool.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/cpu/support/gemm_kernel.hpp>
#include <moegrad/cpu/support/gemm_operand.hpp>
#include <moegrad/cpu/support/gemm_x86.hpp>

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace moegrad::cpu {

/// Of the stored matrix: A is stored [M, K], or [K, M] with yes; B [K, N], or [N, K] with yes.
enum class Transpose { no, yes };

struct GemmOptions {
    /// Row r of the stored matrix is row a_rows[r] of A (b_rows: of B): a gather on load. Null: rows in
    /// order.
    const std::int32_t* a_rows = nullptr;
    const std::int32_t* b_rows = nullptr;
    InstructionSet instructions = InstructionSet::automatic;
};

namespace gemm_detail {

inline constexpr Index kDepthBlock = 256;  // a packed panel of 32 float lanes is then 32 KiB
inline constexpr Index kLaneBlock = 2048;  // lanes packed at once: 2 MiB of float
inline constexpr Index kTaskRowTiles = 4;  // register tiles per task
inline constexpr Index kTaskPanels = 4;
inline constexpr Index kSerialWork = 1 << 19;  // multiply-adds below which one thread does it all

inline Index ceil_divide(Index a, Index b) {
    return (a + b - 1) / b;
}

inline InstructionSet best_instructions() {
    static const InstructionSet best = supported(InstructionSet::avx512) ? InstructionSet::avx512
                                       : supported(InstructionSet::avx2) ? InstructionSet::avx2
                                                                         : InstructionSet::portable;
    return best;
}

template <class T>
const Kernels<T>& choose_kernels(InstructionSet set) {
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
        if (set == InstructionSet::automatic) set = best_instructions();
        if (!supported(set)) {
            throw Error{ErrorCode::unsupported, "gemm", "an instruction set of this CPU",
                        "one it does not have"};
        }
        if (set != InstructionSet::portable) return vector_kernels(T(0), set);
    }
    return kKernels<T, PortableKernel<T>>;
}

/// Small products are done before a second thread has woken up.
template <class Body>
void for_each(ThreadPool& pool, bool serial, Index count, Body&& body) {
    if (!serial) return pool.parallel_for(count, body);
    for (Index i = 0; i < count; ++i) body(i);
}

/// A product with its roles fixed: rows are read as scalars, lanes as vectors. C element (row, lane) is
/// c[row * c_row + lane * c_lane]; one of the strides is 1.
template <class T>
struct Product {
    const Kernels<T>* kernels;
    Operand<T> rows, lanes;
    Index row_count, lane_count, depth;
    T* c;
    Index c_row, c_lane;
    Write write;
};

/// One block of packed lanes over one block of depth.
struct Block {
    Index lane, lanes;  // first lane, how many
    Index k, depth;
    Write write;  // accumulate after the first block of depth
};

/// Row tiles are as even as possible: 64 rows in tiles of at most 14 are 13, 13, 13, 13, 12.
struct RowTiles {
    Index rows, tiles;
    RowTiles(Index rows_, Index most) : rows(rows_), tiles(ceil_divide(rows_, most)) {}
    Index begin(Index tile) const { return rows * tile / tiles; }
};

/// Runs one register tile; tiles at the edge, and those of which C is transposed, pass through a buffer.
template <class T>
void run_tile(const Product<T>& p, Tile<T>& tile, Index row, Index rows, Index lane, Index lanes) {
    Index vectors = ceil_divide(lanes, p.kernels->width);
    Index width = vectors * p.kernels->width;
    auto kernel =
        p.kernels->kernel[static_cast<std::size_t>(rows - 1)][static_cast<std::size_t>(vectors - 1)];
    T* c = p.c + row * p.c_row + lane * p.c_lane;
    if (p.c_lane == 1 && lanes == width) {
        tile.c = c;
        tile.c_row = p.c_row;
        kernel(tile);
        return;
    }
    alignas(64) T buffer[kMostRows * 32];
    if (tile.write == Write::accumulate) {
        for (Index i = 0; i < rows; ++i) {
            for (Index j = 0; j < lanes; ++j) buffer[i * width + j] = c[i * p.c_row + j * p.c_lane];
            std::fill(buffer + i * width + lanes, buffer + (i + 1) * width, T(0));
        }
    }
    tile.c = buffer;
    tile.c_row = width;
    kernel(tile);
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < lanes; ++j) c[i * p.c_row + j * p.c_lane] = buffer[i * width + j];
    }
}

/// Lanes [lane, lane + lanes) of a block: where their panel is and how far its steps of depth are apart.
template <class T>
struct Panel {
    const T* b;
    Index b_depth;
};

/// Each packed panel is used by many row tiles, and packed once for all threads; with few rows a task owns
/// its panels and packs them itself, or reads them where they are.
template <class T>
bool packs_in_task(const Product<T>& p) {
    return ceil_divide(p.row_count, p.kernels->most_rows) <= kTaskRowTiles;
}

template <class T>
Panel<T> pack_panel(const Product<T>& p, const Block& block, Index lane, Index lanes, T* packed) {
    Index width = ceil_divide(lanes, p.kernels->width) * p.kernels->width;
    bool in_place =
        packs_in_task(p) && lanes == width && !p.lanes.depth_contiguous && p.lanes.rows == nullptr;
    if (in_place) return {p.lanes.stored_row(block.k) + block.lane + lane, p.lanes.pitch};
    pack_lanes(p.lanes, p.kernels->transpose, block.lane + lane, block.lane + lane + lanes, block.k,
               block.depth, width, packed);
    return {packed, width};
}

/// Row tiles [first, last) times panels [from, to) of a block; packed is null where each task packs for
/// itself.
template <class T>
void run_task(const Product<T>& p, const Block& block, const T* packed, Index first, Index last, Index from,
              Index to) {
    Index panel_width = 2 * p.kernels->width;
    RowTiles tiles(p.row_count, p.kernels->most_rows);
    Index room = scalar_scratch(p.kernels->most_rows, block.depth);
    T* own = scratch<T, 0>(room * kTaskRowTiles + panel_width * block.depth);
    ScalarBlock<T> scalar[kTaskRowTiles];
    for (Index t = first; t < last; ++t) {
        scalar[t - first] = scalars(p.rows, tiles.begin(t), tiles.begin(t + 1), block.k, block.depth,
                                    own + (t - first) * room);
    }
    own += room * kTaskRowTiles;
    for (Index index = from; index < to; ++index) {
        Index lane = index * panel_width;
        Index lanes = std::min(panel_width, block.lanes - lane);
        Index width = ceil_divide(lanes, p.kernels->width) * p.kernels->width;
        Panel<T> panel = packed == nullptr ? pack_panel(p, block, lane, lanes, own)
                                           : Panel<T>{packed + lane * block.depth, width};
        for (Index t = first; t < last; ++t) {
            const ScalarBlock<T>& s = scalar[t - first];
            Tile<T> tile{block.depth,   s.a,     s.a_row, s.a_depth,  panel.b,
                         panel.b_depth, nullptr, 0,       block.write};
            run_tile(p, tile, tiles.begin(t), tiles.begin(t + 1) - tiles.begin(t), block.lane + lane, lanes);
        }
    }
}

template <class T>
void run_block(ThreadPool& pool, const Product<T>& p, const Block& block) {
    Index panel_width = 2 * p.kernels->width;
    Index panels = ceil_divide(block.lanes, panel_width);
    Index tiles = ceil_divide(p.row_count, p.kernels->most_rows);
    // Bringing a lane value into its panel costs about as much as sixteen multiply-adds.
    bool serial = (p.row_count + 16) * block.lanes * block.depth <= kSerialWork;

    T* packed = nullptr;
    if (!packs_in_task(p)) {
        packed = scratch<T, 1>(panels * panel_width * block.depth);
        auto pack = [&](Index index) {
            Index lane = index * panel_width;
            pack_panel(p, block, lane, std::min(panel_width, block.lanes - lane),
                       packed + lane * block.depth);
        };
        for_each(pool, serial, panels, pack);
    }
    Index row_tasks = ceil_divide(tiles, kTaskRowTiles);
    for_each(pool, serial, row_tasks * ceil_divide(panels, kTaskPanels), [&](Index task) {
        Index first = task % row_tasks * kTaskRowTiles;
        Index from = task / row_tasks * kTaskPanels;
        run_task(p, block, packed, first, std::min(first + kTaskRowTiles, tiles), from,
                 std::min(from + kTaskPanels, panels));
    });
}

/// Cycles, roughly: two vector multiply-adds per cycle, and what a packed value costs.
template <class T>
double estimate(const Kernels<T>& kernels, const Operand<T>& lanes, Index row_count, Index lane_count,
                Index depth) {
    double vectors = static_cast<double>(ceil_divide(lane_count, kernels.width));
    double pack = static_cast<double>(lane_count) * (lanes.depth_contiguous ? 0.4 : 0.2);
    return static_cast<double>(depth) * (0.5 * static_cast<double>(row_count) * vectors + pack);
}

}  // namespace gemm_detail

template <class T>
void gemm(ThreadPool& pool, Transpose transpose_a, Transpose transpose_b, Index M, Index N, Index K,
          const T* A, Index lda, const T* B, Index ldb, T* C, Index ldc, Write write,
          const GemmOptions& options = {}) {
    using namespace gemm_detail;
    if (M <= 0 || N <= 0) return;
    if (K <= 0) {
        if (write == Write::accumulate) return;
        for (Index m = 0; m < M; ++m) std::fill(C + m * ldc, C + m * ldc + N, T(0));
        return;
    }
    const Kernels<T>& kernels = choose_kernels<T>(options.instructions);
    Operand<T> a{A, lda, options.a_rows, transpose_a == Transpose::no};
    Operand<T> b{B, ldb, options.b_rows, transpose_b == Transpose::yes};
    Product<T> p{&kernels, a, b, M, N, K, C, ldc, 1, write};
    double scatter = static_cast<double>(M * N * ceil_divide(K, kDepthBlock));
    if (estimate(kernels, a, N, M, K) + scatter < estimate(kernels, b, M, N, K)) {
        p = {&kernels, b, a, N, M, K, C, 1, ldc, write};
    }
    for (Index lane = 0; lane < p.lane_count; lane += kLaneBlock) {
        for (Index k = 0; k < K; k += kDepthBlock) {
            run_block(pool, p,
                      Block{lane, std::min(kLaneBlock, p.lane_count - lane), k, std::min(kDepthBlock, K - k),
                            k == 0 ? write : Write::accumulate});
        }
    }
}

}  // namespace moegrad::cpu
