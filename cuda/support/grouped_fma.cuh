#pragma once
// Grouped products by plain fused multiply-adds: float in float (no tf32), and bf16 where tensor cores do not serve.
//
//     a block: 128 by 128 of c, 256 threads of 8 by 8        16 deep at a time: a and b [16, 128 + 4] in shared memory
//            +---------+---------+
//            | 4x4     | 4x4     |   of thread (y, x): rows and columns     the next 16 are on their way to registers
//            +---------+---------+   4y .. and 4x .. of each half           while these are multiplied
//            | 4x4     | 4x4     |
//            +---------+---------+
//
// 64 products for 16 values read: shared memory keeps up. Halves, so that a warp reads its columns without a conflict of banks.
// Resident blocks take tiles from a list that each makes from the experts' first rows. An element is one chain in the order of
// the contraction, starting from 0.

#include <moegrad/cuda/support/grouped_operands.cuh>
#include <moegrad/cuda/support/rows.cuh>

namespace moegrad::cuda::grouped {

inline constexpr int kFmaTile = 128, kFmaDepth = 16, kFmaThreads = 256, kFmaPitch = kFmaTile + 4;

/// One operand, element (i, k). along: rows i, contracted along the row; else rows k, contracted across.
template <class Real>
struct Side {
    const Real* data;
    Index pitch;
    const std::int32_t* list;  // rows through a list, or null
    bool along, vectors;       // vectors: rows start at 16 bytes
};

template <class Real>
struct FmaFactor {
    Side<Real> a, b;
    Index b_slice, depth;  // from expert to expert; depth is not used over weights
};

enum class Runs { over_rows, over_weights };  // what the tiles cover: rows of c, or the matrices c[e]

template <class Real, class Out>
struct FmaProduct {
    FmaFactor<Real> factor[2];
    int factors;
    Out* c;
    Index c_pitch, c_slice;
    Write write;
    float scale;
    const std::int32_t* expert_begin;
    Index experts, height, width;  // height: of c[e], over weights
};

struct FmaTile {
    Index expert, row, row_end, column, depth_begin,
        depth_end;  // the depth is the expert's rows, over weights
};

namespace {

/// The 8 neighbouring elements that this thread brings of a tile of a side: indices [first, end), depths [k, k_end).
template <class Real>
__device__ __forceinline__ void load_chunk(const Side<Real>& side, Index slice, Index first, Index end,
                                           Index k, Index k_end, float (&to)[8]) {
    const int thread = static_cast<int>(threadIdx.x);
    Index row = side.along ? first + thread / 2 : k + thread / 16;
    const Index column = side.along ? k + thread % 2 * 8 : first + thread % 16 * 8;
    const Index columns = side.along ? k_end : end;
    const bool inside = row < (side.along ? end : k_end);
    if (inside && side.list != nullptr) row = side.list[row];
    const Real* from = side.data + slice + row * side.pitch + column;
    if (inside && side.vectors && column + 8 <= columns) {
        constexpr int kSize = Pack<Real>::kSize;
#pragma unroll
        for (int i = 0; i < 8; i += kSize) {
            const auto pack = Pack<Real>::load(from + i);
#pragma unroll
            for (int j = 0; j < kSize; ++j) to[i + j] = pack.value[j];
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) to[i] = inside && column + i < columns ? wide(from[i]) : 0.0f;
}

template <class Real>
__device__ __forceinline__ void keep_chunk(const Side<Real>& side, const float (&from)[8],
                                           float (&to)[kFmaDepth][kFmaPitch]) {
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        if (side.along) {
            to[thread % 2 * 8 + i][thread / 2] = from[i];
        } else {
            to[thread / 16][thread % 16 * 8 + i] = from[i];
        }
    }
}

/// The contraction of a tile, step by step of 16; what the next step needs is under way while one is computed.
template <class Real, class Out>
struct FmaSteps {
    const FmaProduct<Real, Out>& p;
    const FmaTile& tile;
    Index first_steps, steps;

    __device__ FmaSteps(const FmaProduct<Real, Out>& product, const FmaTile& of, Runs runs)
        : p(product), tile(of), steps(0) {
        first_steps =
            runs == Runs::over_weights ? rounded(of.depth_end - of.depth_begin) : rounded(p.factor[0].depth);
        steps = first_steps + (p.factors > 1 ? rounded(p.factor[1].depth) : 0);
    }
    __device__ static Index rounded(Index depth) { return (depth + kFmaDepth - 1) / kFmaDepth; }
    __device__ const FmaFactor<Real>& factor(Index step) const {
        return p.factor[step < first_steps ? 0 : 1];
    }

    __device__ void load(Index step, Runs runs, float (&a)[8], float (&b)[8]) const {
        const FmaFactor<Real>& f = factor(step);
        const Index k = tile.depth_begin + (step < first_steps ? step : step - first_steps) * kFmaDepth;
        const Index k_end = runs == Runs::over_weights ? tile.depth_end : f.depth;
        load_chunk(f.a, 0, tile.row, tile.row_end, k, k_end, a);
        load_chunk(f.b, runs == Runs::over_rows ? tile.expert * f.b_slice : 0, tile.column, p.width, k, k_end,
                   b);
    }
};

template <class Real, class Out>
__device__ void fma_tile(const FmaProduct<Real, Out>& p, Runs runs, const FmaTile& tile,
                         float (&as)[kFmaDepth][kFmaPitch], float (&bs)[kFmaDepth][kFmaPitch]) {
    // A thread owns rows and columns 4t .. 4t + 3 of each half of the tile.
    const int top = static_cast<int>(threadIdx.x) / 16 * 4, left = static_cast<int>(threadIdx.x) % 16 * 4;
    const FmaSteps<Real, Out> work(p, tile, runs);
    float sum[8][8] = {}, a[8], b[8];
    if (work.steps > 0) work.load(0, runs, a, b);
    for (Index step = 0; step < work.steps; ++step) {
        __syncthreads();
        keep_chunk(work.factor(step).a, a, as);
        keep_chunk(work.factor(step).b, b, bs);
        __syncthreads();
        if (step + 1 < work.steps) work.load(step + 1, runs, a, b);
#pragma unroll
        for (int k = 0; k < kFmaDepth; ++k) {
            float x[8], y[8];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                *reinterpret_cast<float4*>(x + 4 * half) =
                    *reinterpret_cast<const float4*>(&as[k][64 * half + top]);
                *reinterpret_cast<float4*>(y + 4 * half) =
                    *reinterpret_cast<const float4*>(&bs[k][64 * half + left]);
            }
#pragma unroll
            for (int i = 0; i < 8; ++i) {
#pragma unroll
                for (int j = 0; j < 8; ++j) sum[i][j] = fmaf(x[i], y[j], sum[i][j]);
            }
        }
    }
    Out* c = p.c + (runs == Runs::over_weights ? tile.expert * p.c_slice : 0);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            const Index row = tile.row + i / 4 * 64 + top + i % 4,
                        column = tile.column + j / 4 * 64 + left + j % 4;
            if (row < tile.row_end && column < p.width)
                put(c[row * p.c_pitch + column], p.scale * sum[i][j], p.write);
        }
    }
}

template <class Real, class Out>
__global__ void __launch_bounds__(kFmaThreads, 2) grouped_product_fma(FmaProduct<Real, Out> p, Runs runs) {
    __shared__ __align__(16) float as[kFmaDepth][kFmaPitch], bs[kFmaDepth][kFmaPitch];
    const Index across = (p.width + kFmaTile - 1) / kFmaTile;
    Index first = 0, i = blockIdx.x;
    for (Index e = 0; e < p.experts; ++e) {
        const Index begin = p.expert_begin[e], end = p.expert_begin[e + 1];
        const Index height = runs == Runs::over_rows ? end - begin : p.height;
        const Index tiles = (height + kFmaTile - 1) / kFmaTile * across;
        for (; i < first + tiles; i += gridDim.x) {
            const Index down = (i - first) / across * kFmaTile, column = (i - first) % across * kFmaTile;
            const FmaTile tile = runs == Runs::over_rows ? FmaTile{e, begin + down, end, column, 0, 0}
                                                         : FmaTile{e, down, p.height, column, begin, end};
            fma_tile(p, runs, tile, as, bs);
        }
        first += tiles;
    }
}

template <class Real, class Out>
void run_fma(cudaStream_t stream, const FmaProduct<Real, Out>& p, Runs runs) {
    launch("grouped_product", grouped_product_fma<Real, Out>,
           dim3(static_cast<unsigned>(2 * device_limits().multiprocessors)), dim3(kFmaThreads), 0, stream, p,
           runs);
}

template <class Real>
bool in_vectors(const Real* data, Index pitch) {
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && pitch % Pack<Real>::kSize == 0;
}

/// c (+)= factor * (a b^T + a2 b2^T), or across.
template <class Real>
void fma_rows(cudaStream_t stream, const Operands<Real>& x, bool across, const Store<Real>& to) {
    const auto factor = [&](const auto& a, const auto& b, const std::int32_t* list) {
        return FmaFactor<Real>{{a.data, a.pitch, list, true, in_vectors(a.data, a.pitch)},
                               {b.data, b.pitch, nullptr, !across, in_vectors(b.data, b.pitch)},
                               b.extent(1) * b.pitch,
                               a.extent(1)};
    };
    FmaProduct<Real, Real> p{};
    p.factor[0] = factor(x.a, x.b, x.row_token);
    p.factors = 1;
    if (x.second()) p.factor[p.factors++] = factor(x.a2, x.b2, nullptr);
    p.c = to.c, p.c_pitch = to.pitch, p.write = to.write, p.scale = to.factor;
    p.expert_begin = x.expert_begin, p.experts = x.experts(), p.width = to.columns;
    run_fma(stream, p, Runs::over_rows);
}

/// dw[e] (+)= sum_n dy[n]^T x[src(n)]
template <class Real>
void fma_gram(cudaStream_t stream, View<const Real, 2> dy, View<const Real, 2> x,
              const std::int32_t* row_token, View<float, 3> dw, Write write,
              const std::int32_t* expert_begin) {
    FmaProduct<Real, float> p{};
    p.factor[0] = {{dy.data, dy.pitch, nullptr, false, in_vectors(dy.data, dy.pitch)},
                   {x.data, x.pitch, row_token, false, in_vectors(x.data, x.pitch)},
                   0,
                   0};
    p.factors = 1;
    p.c = dw.data, p.c_pitch = dw.pitch, p.c_slice = dw.extent(1) * dw.pitch, p.write = write, p.scale = 1;
    p.expert_begin = expert_begin, p.experts = dw.extent(0), p.height = dw.extent(1), p.width = dw.extent(2);
    run_fma(stream, p, Runs::over_weights);
}

}  // namespace
}  // namespace moegrad::cuda::grouped
