#pragma once
// Sums over an expert's rows:   c[e][i, j] (+)= sum_n narrow[src(n), i] wide[src(n), j]
// LoRA's gradients: one side has R columns, the other D or O.
//
//     a block: 16 or 64 by 128 elements of one expert        ring of 4 stages of 32 rows: narrow [32, 16 or 64], wide [32, 128]
//            narrow       wide, 128 columns
//       rows +--+   +----+----+----+----+
//       of e |  |   |    |    |    |    |   a warp a quarter     cp.async for three stages ahead; ldmatrix.trans turns both
//          v |  |   |    |    |    |    |   of the columns       sides, mma.sync adds 16 rows at a time
//            +--+   +----+----+----+----+
//
// Memory limits it: the wide side is read once for up to 64 ranks, the narrow one again by every block, from the L2 cache. All
// rows of an expert are one block's: one chain of depth 16, no split, no atomics.

#include <moegrad/cuda/support/grouped_sm80.cuh>

namespace moegrad::cuda::grouped {

struct Gram {
    GramSide narrow, wide;
    float* c;
    Index slice, narrow_stride, wide_stride;  // of c: from expert to expert, from i to i + 1, from j to j + 1
    Write write;
    const std::int32_t* expert_begin;
};

/// What a thread copies of 32 rows and Columns columns of a side. Its rows are looked up one stage ahead: a list is one more
/// trip to memory.
template <int Columns>
struct SideRows {
    static constexpr int kChunks = Columns / 8;  // of a row
    static constexpr int kEach = (kPlainDepth * kChunks + kPlainThreads - 1) / kPlainThreads;
    int row[kEach];

    __device__ __forceinline__ void find(const GramSide& side, int first, int end) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            const int r = (threadIdx.x + j * kPlainThreads) / kChunks, n = first + r;
            row[j] = r < kPlainDepth && n < end ? (side.list == nullptr ? n : side.list[n]) : -1;
        }
    }
    /// Zeros where there is no row or no column.
    __device__ __forceinline__ void load(const GramSide& side, int column, hopper::Address to) const {
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            const int i = threadIdx.x + j * kPlainThreads, r = i / kChunks, chunk = i % kChunks;
            if (r >= kPlainDepth) break;
            const int at = column + 8 * chunk, count = row[j] < 0 ? 0 : min(max(side.columns - at, 0), 8);
            copy_chunk<true>(to + r * Columns * 2 + (chunk ^ (r % min(8, kChunks))) * 16,
                             side.data + (count > 0 ? row[j] * side.pitch + at : 0), count);
        }
    }
};
template <int Columns>
__device__ __forceinline__ hopper::Address place_side(int row, int chunk) {
    return row * Columns * 2 + (chunk ^ (row % min(8, Columns / 8))) * 16;
}

namespace {

template <int Narrow>
__global__ void __launch_bounds__(kPlainThreads) grouped_gram(const __grid_constant__ Gram p) {
    constexpr int kNarrowBytes = kPlainDepth * Narrow * 2, kBytes = kNarrowBytes + kPlainDepth * 128 * 2;
    const hopper::Address stages = hopper::shared_address(dynamic_shared<unsigned char>());
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int top = blockIdx.y * Narrow, left = blockIdx.x * 128;
    const int begin = p.expert_begin[blockIdx.z], end = p.expert_begin[blockIdx.z + 1];
    const int steps = (end - begin + kPlainDepth - 1) / kPlainDepth;
    SideRows<Narrow> narrow;
    SideRows<128> wide;
    const auto find = [&](int step) {
        narrow.find(p.narrow, begin + step * kPlainDepth, end);
        wide.find(p.wide, begin + step * kPlainDepth, end);
    };
    const auto load = [&](int step) {
        const hopper::Address to = stages + step % kPlainStages * kBytes;
        narrow.load(p.narrow, top, to);
        wide.load(p.wide, left, to + kNarrowBytes);
        find(step + 1);
    };
    find(0);
    float d[Narrow / 16][16] = {};
    for (int step = 0; step < kPlainStages - 1; ++step) {
        if (step < steps) load(step);
        close_copies();
    }
    for (int step = 0; step < steps; ++step) {
        wait_for_copies<kPlainStages - 2>();
        __syncthreads();
        if (step + kPlainStages - 1 < steps) load(step + kPlainStages - 1);
        close_copies();
        const hopper::Address a = stages + step % kPlainStages * kBytes, b = a + kNarrowBytes;
#pragma unroll
        for (int k = 0; k < kPlainDepth; k += 16) {
            std::uint32_t x[Narrow / 16][4];
#pragma unroll
            for (int m = 0; m < Narrow / 16; ++m) {
                load_turned_matrices(
                    x[m], a + place_side<Narrow>(k + lane % 8 + lane / 16 * 8, 2 * m + lane / 8 % 2));
            }
#pragma unroll
            for (int n = 0; n < 2; ++n) {
                std::uint32_t y[4];
                load_turned_matrices(y, b + place_side<128>(k + lane % 16, warp * 4 + 2 * n + lane / 16));
#pragma unroll
                for (int m = 0; m < Narrow / 16; ++m) {
                    multiply_16(&d[m][8 * n], x[m], y[0], y[1]);
                    multiply_16(&d[m][8 * n + 4], x[m], y[2], y[3]);
                }
            }
        }
    }
#pragma unroll
    for (int m = 0; m < Narrow / 16; ++m) {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            const int row = top + 16 * m + lane / 4 + i / 2 % 2 * 8,
                      column = left + warp * 32 + i / 4 * 8 + lane % 4 * 2 + i % 2;
            if (row >= p.narrow.columns || column >= p.wide.columns) continue;
            float& c = p.c[blockIdx.z * p.slice + row * p.narrow_stride + column * p.wide_stride];
            c = p.write == Write::accumulate ? c + d[m][i] : d[m][i];
        }
    }
}

template <int Narrow>
void launch_gram(cudaStream_t stream, const Gram& p, int experts) {
    constexpr int kShared = kPlainStages * kPlainDepth * (Narrow + 128) * 2;
    const dim3 grid(static_cast<unsigned>((p.wide.columns + 127) / 128),
                    static_cast<unsigned>((p.narrow.columns + Narrow - 1) / Narrow),
                    static_cast<unsigned>(experts));
    launch("weight_gradient", grouped_gram<Narrow>, grid, dim3(kPlainThreads), kShared, stream, p);
}

/// dw[e] [O, D] (+)= sum_n dy[n]^T x[src(n)]; rows start at 16 bytes.
inline void run_gram(cudaStream_t stream, const GramSide& dy, const GramSide& x, const View<float, 3>& dw,
                     Write write, const std::int32_t* expert_begin) {
    const bool first = dy.columns <= x.columns;
    const Gram p{first ? dy : x,       first ? x : dy,       dw.data, dw.extent(1) * dw.pitch,
                 first ? dw.pitch : 1, first ? 1 : dw.pitch, write,   expert_begin};
    const int experts = static_cast<int>(dw.extent(0));
    if (experts == 0) return;
    p.narrow.columns <= 16 ? launch_gram<16>(stream, p, experts) : launch_gram<64>(stream, p, experts);
}

}  // namespace
}  // namespace moegrad::cuda::grouped
