#pragma once
// Tiles of attention on plain multiply-adds, in float: the matrix products that the kernels of
// attention_plain.cuh are made of. A block of 16 x 16 threads holds two tiles of rows of one head, a and b
// [kTile][kHead], and the weights between them, p [kTile][kTile], in shared memory. Thread (y, x) owns rows
// kEach y + i of a, meets rows x + 16 j of b in the scores and columns kWide (x + 16 g) .. of the head in the
// sums. Every element is one chain of fused multiply-adds in order: of columns in scores, of rows of b in
// sums. Rows that are not valid, rows beyond T and columns beyond the head are read as zeros.

#include <moegrad/cuda/support/attention_rows.cuh>

namespace moegrad::cuda::attention {
namespace {

inline constexpr int kGridSide = 16;
inline constexpr int kTileThreads = kGridSide * kGridSide;

template <int Head, int Tile>
struct TileShape {
    static constexpr int kHead = Head, kTile = Tile;
    static constexpr int kPitch = Head + 4, kWeightPitch = Tile + 4;  // rows of neighbours in different banks
    static constexpr int kEach = Tile / kGridSide, kColumns = Head / kGridSide;
    static constexpr int kWide = kColumns < 4 ? kColumns : 4;
    static constexpr int kFloats = 2 * Tile * kPitch + Tile * kWeightPitch;
    static constexpr std::size_t kBytes = kFloats * sizeof(float);

    using Scores = float[kEach][kEach];  // row kEach y + i of a, row x + 16 j of b
    using Sums = float[kEach][kColumns];

    float *a, *b, *weights;
    int x, y;

    __device__ explicit TileShape(float* shared)
        : a(shared),
          b(shared + kTile * kPitch),
          weights(shared + 2 * kTile * kPitch),
          x(static_cast<int>(threadIdx.x) % kGridSide),
          y(static_cast<int>(threadIdx.x) / kGridSide) {}
    __device__ int row(int i) const { return kEach * y + i; }
    __device__ int other(int j) const { return x + kGridSide * j; }
    /// Column of the head that element c of a row of Sums belongs to.
    __device__ int column(int c) const { return kWide * (x + c / kWide * kGridSide) + c % kWide; }
};

/// The shape whose kernels take this head.
template <class Run>
void with_shape(Index head, Run run) {
    if (head <= 32) return run(std::type_identity<TileShape<32, 64>>());
    if (head <= 64) return run(std::type_identity<TileShape<64, 64>>());
    if (head <= 128) return run(std::type_identity<TileShape<128, 64>>());
    run(std::type_identity<TileShape<256, 32>>());
}

/// A matrix of heads: columns [h head, (h + 1) head) are head h.
template <class Real>
struct Heads {
    const Real* data = nullptr;
    Index pitch = 0;
    int head = 0;
    bool packs = false;  // every head of every row starts and ends at 16 bytes

    Heads() = default;
    Heads(const View<const Real, 2>& x, Index head_)
        : data(x.data),
          pitch(x.pitch),
          head(static_cast<int>(head_)),
          packs(aligned(x) && head_ % Pack<Real>::kSize == 0) {}
};

/// Rows [first, first + kTile) of head h.
template <class Shape, class Real>
__device__ __forceinline__ void load_tile(const Heads<Real>& x, const Rows& rows, int first, int h,
                                          float* to) {
    const int n = x.packs ? Pack<Real>::kSize : 1;
    for (int i = static_cast<int>(threadIdx.x) * n; i < Shape::kTile * Shape::kHead; i += kTileThreads * n) {
        const int row = i / Shape::kHead, column = i % Shape::kHead;
        const bool inside = column < x.head && rows.there(first + row);
        const Real* from = x.data + (first + row) * x.pitch + static_cast<Index>(h) * x.head + column;
        float* place = to + row * Shape::kPitch + column;
        if (x.packs) {
            Pack<Real> pack{};
            if (inside) pack = Pack<Real>::load(from);
#pragma unroll
            for (int k = 0; k < Pack<Real>::kSize; ++k) place[k] = pack.value[k];
        } else {
            *place = inside ? wide(*from) : 0.0f;
        }
    }
}

/// s[i][j] = <a[row(i)], b[other(j)]>
template <class Shape>
__device__ __forceinline__ void multiply_heads(const Shape& tile, typename Shape::Scores& s) {
    constexpr int kEach = Shape::kEach;
#pragma unroll
    for (int i = 0; i < kEach * kEach; ++i) s[i / kEach][i % kEach] = 0;
#pragma unroll 2
    for (int c = 0; c < Shape::kHead; c += 4) {
        float4 a[kEach], b[kEach];
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
            a[i] = *reinterpret_cast<const float4*>(tile.a + tile.row(i) * Shape::kPitch + c);
            b[i] = *reinterpret_cast<const float4*>(tile.b + tile.other(i) * Shape::kPitch + c);
        }
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
#pragma unroll
            for (int j = 0; j < kEach; ++j) {
                s[i][j] = fmaf(a[i].x, b[j].x, s[i][j]);
                s[i][j] = fmaf(a[i].y, b[j].y, s[i][j]);
                s[i][j] = fmaf(a[i].z, b[j].z, s[i][j]);
                s[i][j] = fmaf(a[i].w, b[j].w, s[i][j]);
            }
        }
    }
}

template <class Shape>
__device__ __forceinline__ void store_weights(const Shape& tile, const typename Shape::Scores& p) {
#pragma unroll
    for (int i = 0; i < Shape::kEach; ++i) {
#pragma unroll
        for (int j = 0; j < Shape::kEach; ++j)
            tile.weights[tile.row(i) * Shape::kWeightPitch + tile.other(j)] = p[i][j];
    }
}

/// sums[i] += sum over the rows n of b of weights[row(i)][n] b[n]
template <class Shape>
__device__ __forceinline__ void multiply_weights(const Shape& tile, typename Shape::Sums& sums) {
#pragma unroll 4
    for (int n = 0; n < Shape::kTile; ++n) {
        float b[Shape::kColumns];
#pragma unroll
        for (int c = 0; c < Shape::kColumns; c += Shape::kWide) {
            const float* from = tile.b + n * Shape::kPitch + tile.column(c);
            if constexpr (Shape::kWide == 4) {
                const float4 all = *reinterpret_cast<const float4*>(from);
                b[c] = all.x, b[c + 1] = all.y, b[c + 2] = all.z, b[c + 3] = all.w;
            } else {
#pragma unroll
                for (int k = 0; k < Shape::kWide; ++k) b[c + k] = from[k];
            }
        }
#pragma unroll
        for (int i = 0; i < Shape::kEach; ++i) {
            const float p = tile.weights[tile.row(i) * Shape::kWeightPitch + n];
#pragma unroll
            for (int c = 0; c < Shape::kColumns; ++c) sums[i][c] = fmaf(p, b[c], sums[i][c]);
        }
    }
}

/// factor[i] sums[i] into row first + row(i) of head h; rows beyond T and columns beyond the head stay out.
template <class Shape, class Real>
__device__ __forceinline__ void store_sums(const Shape& tile, const typename Shape::Sums& sums,
                                           const float* factor, const Rows& rows, int first, int h, int head,
                                           const View<Real, 2>& to, Write write) {
#pragma unroll
    for (int i = 0; i < Shape::kEach; ++i) {
        const int t = first + tile.row(i);
        if (t >= rows.T) continue;
        Real* row = to.row(t) + static_cast<Index>(h) * head;
#pragma unroll
        for (int c = 0; c < Shape::kColumns; ++c) {
            if (tile.column(c) < head) put(row[tile.column(c)], factor[i] * sums[i][c], write);
        }
    }
}

/// Over the 16 threads that share rows of a; the same in each.
template <class Combine>
__device__ __forceinline__ float across(float x, Combine combine) {
#pragma unroll
    for (int distance = kGridSide / 2; distance > 0; distance /= 2) {
        x = combine(x, __shfl_xor_sync(0xffffffffu, x, distance));
    }
    return x;
}

}  // namespace
}  // namespace moegrad::cuda::attention
