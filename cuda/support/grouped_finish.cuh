#pragma once
// What happens to a finished tile of a grouped product on tensor cores.
// A lane holds of 16 rows: of rows `row` and `row + 8`, in blocks of 8 columns, columns 2q and 2q + 1, q = lane % 4
// (wgmma.cuh; mma.sync has the same). The first half of the blocks starts at `column`, the second `distance` later:
// gate and up of one column meet in one thread.

#include <moegrad/cuda/support/grouped_operands.cuh>
#include <moegrad/cuda/support/numbers.cuh>

namespace moegrad::cuda::grouped {

/// The two values of a word.
__device__ __forceinline__ float low(std::uint32_t both) {
    return __uint_as_float(both << 16);
}
__device__ __forceinline__ float high(std::uint32_t both) {
    return __uint_as_float(both & 0xffff0000u);
}

/// Lane q of a quad holds word q of each of four blocks; afterwards all four words of block q. Its own inverse.
__device__ __forceinline__ void turn(std::uint32_t (&w)[4]) {
    const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        const std::uint32_t got = __shfl_xor_sync(~0u, odd ? w[i] : w[i + 1], 1);
        (odd ? w[i] : w[i + 1]) = got;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const std::uint32_t got = __shfl_xor_sync(~0u, upper ? w[i] : w[i + 2], 2);
        (upper ? w[i] : w[i + 2]) = got;
    }
}

/// Words of four neighbouring blocks (as a lane computed them) to 32 columns of a row: 16 bytes a lane. Aligned: rows
/// start at 16 bytes and `columns` is a multiple of 8; without a branch, which would cost the compiler its schedule.
template <bool Aligned>
__device__ __forceinline__ void put_blocks(bf16* row, int column, int columns, bool inside,
                                           std::uint32_t (&w)[4]) {
    turn(w);
    const int at = column + 8 * static_cast<int>(threadIdx.x & 3);
    if constexpr (Aligned) {
        if (inside && at < columns) *reinterpret_cast<uint4*>(row + at) = make_uint4(w[0], w[1], w[2], w[3]);
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const std::uint32_t bits = i & 1 ? w[i / 2] >> 16 : w[i / 2] & 0xffffu;
            if (inside && at + i < columns) row[at + i] = bf16::from_bits(static_cast<std::uint16_t>(bits));
        }
    }
}

/// The reverse: 16 bytes a lane, zeros outside; turn() then gives the words of the blocks.
template <bool Aligned>
__device__ __forceinline__ void get_blocks(const bf16* row, int column, int columns, bool inside,
                                           std::uint32_t (&w)[4]) {
    const int at = column + 8 * static_cast<int>(threadIdx.x & 3);
    if constexpr (Aligned) {
        uint4 all = make_uint4(0, 0, 0, 0);
        if (inside && at < columns) all = *reinterpret_cast<const uint4*>(row + at);
        w[0] = all.x, w[1] = all.y, w[2] = all.z, w[3] = all.w;
    } else {
        w[0] = w[1] = w[2] = w[3] = 0;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if (inside && at + i < columns)
                w[i / 2] |= static_cast<std::uint32_t>(row[at + i].bits) << (16 * (i & 1));
        }
    }
}

/// 1 / (1 + exp(-x)), to a few units in the last place of float; 0 and 1 at the ends.
__device__ __forceinline__ float fast_sigmoid(float x) {
    float power, inverse;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * -1.4426950408889634f));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + power));
    return inverse;
}

template <bool Aligned, int Size>
__device__ __forceinline__ void finish(const Store<bf16>& to, float (&d)[Size], int row, int row_end,
                                       int column, int distance) {
    constexpr int kHalf = Size / 8;  // blocks in a half
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const bool inside = row + 8 * r < row_end;
        bf16* out = to.c + static_cast<Index>(row + 8 * r) * to.pitch;
#pragma unroll
        for (int j = 0; j < 2 * kHalf; j += 4) {
            const int at = column + (j < kHalf ? 8 * j : distance + 8 * (j - kHalf));
            std::uint32_t w[4], old[4] = {};
            if (to.write == Write::accumulate) {
                get_blocks<Aligned>(out, at, to.columns, inside, old);
                turn(old);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int at_d = 4 * (j + i) + 2 * r;
                w[i] = pack_bf16(fmaf(to.factor, d[at_d], low(old[i])),
                                 fmaf(to.factor, d[at_d + 1], high(old[i])));
            }
            put_blocks<Aligned>(out, at, to.columns, inside, w);
        }
    }
}

/// h of a word of z, as it is stored: backward sees the same numbers.
__device__ __forceinline__ std::uint32_t swiglu_word(std::uint32_t gate, std::uint32_t up) {
    const float g0 = low(gate), g1 = high(gate);
    return pack_bf16(g0 * fast_sigmoid(g0) * low(up), g1 * fast_sigmoid(g1) * high(up));
}

template <bool Aligned, int Size>
__device__ __forceinline__ void finish(const Swiglu& to, float (&d)[Size], int row, int row_end, int column,
                                       int) {
    constexpr int kHalf = Size / 8;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const bool inside = row + 8 * r < row_end;
        bf16* z = to.z + static_cast<Index>(row + 8 * r) * to.z_pitch;
        bf16* h = to.h + static_cast<Index>(row + 8 * r) * to.h_pitch;
#pragma unroll
        for (int j = 0; j < kHalf; j += 4) {
            std::uint32_t gate[4], up[4], y[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int g = 4 * (j + i) + 2 * r, u = g + 4 * kHalf;
                gate[i] = pack_bf16(d[g], d[g + 1]);
                up[i] = pack_bf16(d[u], d[u + 1]);
                y[i] = swiglu_word(gate[i], up[i]);
            }
            if (to.z != nullptr) {
                put_blocks<Aligned>(z, column + 8 * j, to.F, inside, gate);
                put_blocks<Aligned>(z + to.F, column + 8 * j, to.F, inside, up);
            }
            put_blocks<Aligned>(h, column + 8 * j, to.F, inside, y);
        }
    }
}

/// h, and the gradients of gate and up, of one element:   d silu(g)/dg = s + g s (1 - s)
__device__ __forceinline__ void swiglu_gradient(float gate, float up, float dh, float& h, float& d_gate,
                                                float& d_up) {
    const float s = fast_sigmoid(gate), silu = gate * s;
    h = silu * up;
    d_up = dh * silu;
    d_gate = dh * up * fmaf(silu, 1.0f - s, s);
}

/// The same of two neighbours; their gradients take the places of gate and up.
__device__ __forceinline__ void gradient_word(std::uint32_t& gate, std::uint32_t& up, float dh0, float dh1,
                                              std::uint32_t& h) {
    float h0, h1, g0, g1, u0, u1;
    swiglu_gradient(low(gate), low(up), dh0, h0, g0, u0);
    swiglu_gradient(high(gate), high(up), dh1, h1, g1, u1);
    h = pack_bf16(h0, h1), gate = pack_bf16(g0, g1), up = pack_bf16(u0, u1);
}

/// dz and h of 32 columns of two rows, 8 apart; `group` counts them. gate and up: word i is of block i, as in d.
template <bool Aligned, int Size>
__device__ __forceinline__ void finish_group(const SwigluGradient& to, float (&d)[Size], int group, int row,
                                             const bool (&inside)[2], int column, std::uint32_t (&gate)[2][4],
                                             std::uint32_t (&up)[2][4]) {
    std::uint32_t y[2][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int at = 4 * (4 * group + i) + 2 * r;
            gradient_word(gate[r][i], up[r][i], d[at], d[at + 1], y[r][i]);
        }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        bf16* dz = to.dz + static_cast<Index>(row + 8 * r) * to.dz_pitch;
        put_blocks<Aligned>(dz, column, to.F, inside[r], gate[r]);
        put_blocks<Aligned>(dz + to.F, column, to.F, inside[r], up[r]);
        if (to.h == nullptr) continue;
        put_blocks<Aligned>(to.h + static_cast<Index>(row + 8 * r) * to.h_pitch, column, to.F, inside[r],
                            y[r]);
    }
}

/// Reads of z run one group of blocks ahead of the writes: dz may be z. Both rows at once, for the latencies.
template <bool Aligned, int Size>
__device__ __forceinline__ void finish(const SwigluGradient& to, float (&d)[Size], int row, int row_end,
                                       int column, int distance) {
    constexpr int kHalf = Size / 8, kGroups = 2 * kHalf / 4;
    const auto column_of = [&](int group) {
        const int j = 4 * group;
        return column + (j < kHalf ? 8 * j : distance + 8 * (j - kHalf));
    };
    const bf16* z = to.z + static_cast<Index>(row) * to.z_pitch;
    const bool inside[2] = {row < row_end, row + 8 < row_end};
    std::uint32_t gates[2][4], ups[2][4];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        get_blocks<Aligned>(z + 8 * r * to.z_pitch, column_of(0), to.F, inside[r], gates[r]);
        get_blocks<Aligned>(z + 8 * r * to.z_pitch + to.F, column_of(0), to.F, inside[r], ups[r]);
    }
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
        std::uint32_t gate[2][4], up[2][4];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
#pragma unroll
            for (int i = 0; i < 4; ++i) gate[r][i] = gates[r][i], up[r][i] = ups[r][i];
            if (g + 1 < kGroups) {
                get_blocks<Aligned>(z + 8 * r * to.z_pitch, column_of(g + 1), to.F, inside[r], gates[r]);
                get_blocks<Aligned>(z + 8 * r * to.z_pitch + to.F, column_of(g + 1), to.F, inside[r], ups[r]);
            }
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) turn(gate[r]), turn(up[r]);
        finish_group<Aligned>(to, d, g, row, inside, column_of(g), gate, up);
    }
}

}  // namespace moegrad::cuda::grouped
