#pragma once
// Grouped products with few columns:   c[n] (+)= factor * a[src(n)] b[e]^T   or   factor * a[n] b[e],   up to 64 columns:
// u = x A^T and du = dz B of LoRA. They read a once and do little with it, so the rate is that of memory:
//
//     a block: 64 rows, four warps of 16        ring of 5 stages, 64 deep:   a [64 rows, 64]   b [columns, 64] or [64, columns]
//
// cp.async keeps four stages on their way, 2 or 3 blocks an SM; mma.sync takes them. The kernel for wide products would spend
// 256 columns of tensor work on 16 and reach a third of the rate. An element of c is one chain of products of depth 16.

#include <moegrad/cuda/support/grouped_sm80.cuh>

namespace moegrad::cuda::grouped {

inline constexpr int kSkinnyRows = 64;
inline constexpr int kSkinnyDepth = 64;
inline constexpr int kSkinnyStages = 5;
inline constexpr int kSkinnyMost = 64;  // columns

/// One stage of the ring. Columns: 16, 32 or 64, of which b may have fewer.
template <Major MajorB, int Columns>
struct SkinnyStage {
    static constexpr int kBytesA = kSkinnyRows * kSkinnyDepth * 2;
    static constexpr int kBytesB = Columns * kSkinnyDepth * 2;
    static constexpr int kBytes = kBytesA + kBytesB;
    static constexpr int kRowBytesB = MajorB == Major::k ? kSkinnyDepth * 2 : Columns * 2;

    /// source: this thread's rows of a, thread / 8 + 16 i, or null.
    __device__ static void load(const bf16* const (&source)[4], const bf16* b, const Factor& f, int depth,
                                hopper::Address to) {
        const int chunk = threadIdx.x % 8, k = depth + 8 * chunk, count = min(max(f.depth - k, 0), 8);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const bool there = source[i] != nullptr && count > 0;
            copy_chunk<true>(to + place_chunk<128>(threadIdx.x / 8 + 16 * i, chunk),
                             there ? source[i] + k : f.a, there ? count : 0);
        }
        constexpr int kChunks = kRowBytesB / 16;
#pragma unroll
        for (int i = threadIdx.x; i < kBytesB / 16; i += kPlainThreads) {
            const int row = i / kChunks, at = i % kChunks * 8;
            const bool along = MajorB == Major::k;
            const int column = along ? row : at, deep = depth + (along ? at : row);
            const int there = along ? (column < f.b_columns ? f.depth - deep : 0)
                                    : (deep < f.depth ? f.b_columns - column : 0);
            const Index from = along ? column * f.b_pitch + deep : deep * f.b_pitch + column;
            copy_chunk<true>(to + kBytesA + place_chunk<kRowBytesB>(row, i % kChunks),
                             b + (there > 0 ? from : 0), min(max(there, 0), 8));
        }
    }

    __device__ static void multiply(hopper::Address from, int warp, int lane, float (&d)[Columns / 2]) {
        const hopper::Address from_b = from + kBytesA;
#pragma unroll
        for (int k = 0; k < kSkinnyDepth / 16; ++k) {
            std::uint32_t a[4];
            load_matrices(a, from + place_chunk<128>(16 * warp + lane % 16, 2 * k + lane / 16));
#pragma unroll
            for (int n = 0; n < Columns / 16; ++n) {
                std::uint32_t b[4];
                if constexpr (MajorB == Major::k) {
                    load_matrices(b, from_b + place_chunk<kRowBytesB>(16 * n + lane % 8 + lane / 16 * 8,
                                                                      2 * k + lane / 8 % 2));
                } else {
                    load_turned_matrices(
                        b, from_b + place_chunk<kRowBytesB>(16 * k + lane % 16, 2 * n + lane / 16));
                }
                multiply_16(&d[8 * n], a, b[0], b[1]);
                multiply_16(&d[8 * n + 4], a, b[2], b[3]);
            }
        }
    }
};

template <Major MajorB, int Columns>
__device__ __forceinline__ void skinny_tile(const PlainProduct<Store<bf16>>& p, int expert, int row,
                                            int row_end, hopper::Address stages) {
    using Stage = SkinnyStage<MajorB, Columns>;
    const Factor& f = p.factor[0];
    const bf16* b = f.b + expert * f.b_slice;
    const bf16* source[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int n = row + threadIdx.x / 8 + 16 * i;
        source[i] = n < row_end ? f.a + (f.gather ? p.row_token[n] : n) * f.a_pitch : nullptr;
    }
    float d[Columns / 2 < 16 ? 16 : Columns / 2] = {};  // finish() takes blocks of 8 columns by fours
    float(&used)[Columns / 2] = reinterpret_cast<float(&)[Columns / 2]>(d);
    const int steps = (f.depth + kSkinnyDepth - 1) / kSkinnyDepth;
    __syncthreads();  // nobody still reads the stages
    for (int step = 0; step < kSkinnyStages - 1; ++step) {
        if (step < steps) Stage::load(source, b, f, step * kSkinnyDepth, stages + step * Stage::kBytes);
        close_copies();
    }
    for (int step = 0; step < steps; ++step) {
        wait_for_copies<kSkinnyStages - 2>();
        __syncthreads();
        const int next = step + kSkinnyStages - 1;
        if (next < steps) {
            Stage::load(source, b, f, next * kSkinnyDepth, stages + next % kSkinnyStages * Stage::kBytes);
        }
        close_copies();
        Stage::multiply(stages + step % kSkinnyStages * Stage::kBytes, threadIdx.x / 32, threadIdx.x % 32,
                        used);
    }
    finish<true>(p.to, d, row + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, row_end, 0, 32);
}

namespace {

template <Major MajorB, int Columns>
__global__ void __launch_bounds__(kPlainThreads, 2)
    grouped_product_skinny(const __grid_constant__ PlainProduct<Store<bf16>> p) {
    const hopper::Address stages = hopper::shared_address(dynamic_shared<unsigned char>());
    int tile = blockIdx.x;
    for (int expert = 0; expert < p.experts; ++expert) {
        const int begin = p.expert_begin[expert], end = p.expert_begin[expert + 1];
        const int tiles = (end - begin + kSkinnyRows - 1) / kSkinnyRows;
        for (; tile < tiles; tile += gridDim.x)
            skinny_tile<MajorB, Columns>(p, expert, begin + tile * kSkinnyRows, end, stages);
        tile -= tiles;
    }
}

template <Major MajorB, int Columns>
void launch_skinny(cudaStream_t stream, const PlainProduct<Store<bf16>>& p) {
    constexpr int kShared = kSkinnyStages * SkinnyStage<MajorB, Columns>::kBytes;
    launch("grouped_product", grouped_product_skinny<MajorB, Columns>,
           dim3(static_cast<unsigned>(3 * device_limits().multiprocessors)), dim3(kPlainThreads), kShared,
           stream, p);
}

/// No second pair of operands; everything starts at 16 bytes.
template <Major MajorB>
void run_skinny(cudaStream_t stream, const Operands<bf16>& x, const Store<bf16>& to) {
    const auto p = plain_product<MajorB>(x, to);
    if (to.columns <= 16) return launch_skinny<MajorB, 16>(stream, p);
    if (to.columns <= 32) return launch_skinny<MajorB, 32>(stream, p);
    launch_skinny<MajorB, kSkinnyMost>(stream, p);
}

}  // namespace
}  // namespace moegrad::cuda::grouped
