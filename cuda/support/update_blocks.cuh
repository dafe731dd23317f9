#pragma once
// Blocks of kUpdateBlock values of one weight or of a list of weights (ops/adamw.hpp): which weight a block belongs to,
// and which four values a thread takes. The same thread takes the same values with and without 16-byte accesses.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/ops/adamw.hpp>

namespace moegrad::cuda {
namespace {

/// The weight of a list that block `block` belongs to.
__device__ __forceinline__ Index item_of(const View<const Index, 1>& begin, Index block) {
    Index low = 0, high = begin.extent(0) - 1;  // begin(low) <= block < begin(high)
    while (high - low > 1) {
        const Index middle = (low + high) / 2;
        (begin(middle) <= block ? low : high) = middle;
    }
    return low;
}

__device__ __forceinline__ bool aligned_to(const void* place, std::uintptr_t bytes) {
    return reinterpret_cast<std::uintptr_t>(place) % bytes == 0;
}

__device__ __forceinline__ bool uses_aligned(const GradientUses<float>& g) {
    bool all = true;
    for (int n = 0; n < g.count; ++n) all = all && aligned_to(g.use[n].data, 16);
    return all;
}

/// body(i, count, wide): this thread's values i .. i + count - 1 of block `block` of `size` values; count is 4 but at the
/// end; wide: all four may be read at once.
template <class Body>
__device__ __forceinline__ void for_fours(Index size, Index block, bool wide, Body&& body) {
    const Index end = min(size, (block + 1) * kUpdateBlock);
    for (Index i = block * kUpdateBlock + 4 * static_cast<Index>(threadIdx.x); i < end;
         i += 4 * static_cast<Index>(blockDim.x)) {
        const int count = static_cast<int>(min(end - i, Index{4}));
        body(i, count, wide && count == 4);
    }
}

__device__ __forceinline__ void load_four(const float* from, int count, bool wide, float (&x)[4]) {
    if (wide) {
        const float4 all = *reinterpret_cast<const float4*>(from);
        x[0] = all.x, x[1] = all.y, x[2] = all.z, x[3] = all.w;
        return;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) x[j] = j < count ? from[j] : 0;
}

__device__ __forceinline__ void store_four(float* to, int count, bool wide, const float (&x)[4]) {
    if (wide) {
        *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
        return;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        if (j < count) to[j] = x[j];
    }
}

/// The sum of the uses, in order.
__device__ __forceinline__ void load_gradient(const GradientUses<float>& g, Index i, int count, bool wide,
                                              float (&x)[4]) {
    load_four(g.use[0].data + i, count, wide, x);
    for (int n = 1; n < g.count; ++n) {
        float more[4];
        load_four(g.use[n].data + i, count, wide, more);
#pragma unroll
        for (int j = 0; j < 4; ++j) x[j] += more[j];
    }
}

}  // namespace
}  // namespace moegrad::cuda
