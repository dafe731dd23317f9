#pragma once
// What a warp of any card since sm_80 does with small matrices in shared memory: cp.async brings rows, ldmatrix hands them to the
// lanes, mma.sync multiplies. bf16 in, sums in float. The emulator of the tests puts a file of this name in its place.

#include <moegrad/core/bf16.hpp>
#include <moegrad/cuda/support/hopper.cuh>

namespace moegrad::cuda::grouped {

/// Four of 8 x 8: lane l names row l % 8 of matrix l / 8, and gets of each, of row l / 4, columns 2 (l % 4) and the next.
__device__ __forceinline__ void load_matrices(std::uint32_t (&r)[4], hopper::Address from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from));
}
/// The same of the matrices turned: of column l / 4, rows 2 (l % 4) and the next.
__device__ __forceinline__ void load_turned_matrices(std::uint32_t (&r)[4], hopper::Address from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from));
}
/// d += a b: 16 rows, 8 columns, 16 deep.
__device__ __forceinline__ void multiply_16(float* d, const std::uint32_t (&a)[4], std::uint32_t b0,
                                            std::uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// 8 values into shared memory, zeros from `count` on.
template <bool Aligned>
__device__ __forceinline__ void copy_chunk(hopper::Address to, const bf16* from, int count) {
    if constexpr (Aligned) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(count * 2)
                     : "memory");
    } else {
        std::uint32_t w[4] = {};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if (i < count) w[i / 2] |= static_cast<std::uint32_t>(from[i].bits) << (16 * (i & 1));
        }
        asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(w[0]), "r"(w[1]), "r"(w[2]),
                     "r"(w[3])
                     : "memory");
    }
}

/// What was copied since the last call is one group; all but the last N groups are there.
__device__ __forceinline__ void close_copies() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N>
__device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

}  // namespace moegrad::cuda::grouped
