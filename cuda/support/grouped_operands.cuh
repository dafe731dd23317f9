#pragma once
// What the grouped products are called with: operands, and what becomes of a finished sum. Plain types, for tensor cores
// (grouped_fast.cuh) and plain kernels alike.
//     c[n] = a[src(n)] b[e]^T  (+ a2[n] b2[e]^T)        n a row of expert e, rows sorted by expert
// or with b and b2 taken across: c[n] = a[n] b[e] + a2[n] b2[e]. The second pair continues the contraction: this is
// LoRA, u B^T or du A, in the same sum and under the same rounding.

#include <cstdint>

#include <moegrad/core/bf16.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad::cuda::grouped {

/// a [rows or tokens, depth], b [E, columns, depth], or [E, depth, columns] where it is taken across.
template <class Real>
struct Operands {
    View<const Real, 2> a;
    View<const Real, 3> b;
    View<const Real, 2> a2 = {};  // [rows, R]; empty: no second pair
    View<const Real, 3> b2 = {};
    const std::int32_t* expert_begin = nullptr;  // [E + 1]
    const std::int32_t* row_token = nullptr;     // [rows]; set: src(n), the rows of a are gathered

    bool second() const { return a2.data != nullptr && a2.extent(1) > 0; }
    int experts() const { return static_cast<int>(b.extent(0)); }
};

/// c (+)= factor * sum
template <class Real>
struct Store {
    Real* c;
    Index pitch;
    int columns;
    Write write;
    float factor = 1;
};

/// z = sum [N, 2F], of which a thread has the gate and the up of one column;  h [N, F] = silu(z gate) z up
struct Swiglu {
    bf16 *z, *h;
    Index z_pitch, h_pitch;
    int F;
};

/// The sum is dh:   h = silu(gate) up,  dz = gradient of that for dh.   z [N, 2F]; dz may be z.
struct SwigluGradient {
    const bf16* z;
    bf16 *dz, *h;  // h may be null
    Index z_pitch, dz_pitch, h_pitch;
    int F;
};

/// One side of a sum over the rows of an expert.
struct GramSide {
    const bf16* data;
    Index pitch;
    const std::int32_t* list;  // rows through a list, or null
    int columns;
};

template <class Real>
bool aligned(const Real* data, Index pitch, int columns) {
    constexpr int n = 16 / static_cast<int>(sizeof(Real));
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && pitch % n == 0 && columns % n == 0;
}
template <class Real>
bool aligned(const Store<Real>& to) {
    return aligned(to.c, to.pitch, to.columns);
}
inline bool aligned(const Swiglu& to) {
    return aligned(to.z, to.z_pitch, to.F) && aligned(to.h, to.h_pitch, to.F);
}
inline bool aligned(const SwigluGradient& to) {
    return aligned(to.z, to.z_pitch, to.F) && aligned(to.dz, to.dz_pitch, to.F) &&
           aligned(to.h, to.h_pitch, to.F);
}
inline bool aligned(const GramSide& side) {
    return reinterpret_cast<std::uintptr_t>(side.data) % 16 == 0 && side.pitch % 8 == 0;
}

/// Where a chunk of 16 bytes lies among rows of 32, 64 or 128 bytes: eight rows of one column of chunks in different banks.
template <int RowBytes>
__device__ __forceinline__ int place_chunk(int row, int chunk) {
    constexpr int kRowsOfBanks = 128 / RowBytes;
    return row * RowBytes + (chunk ^ (row / kRowsOfBanks % (RowBytes / 16))) * 16;
}

}  // namespace moegrad::cuda::grouped
