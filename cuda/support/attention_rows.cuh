#pragma once
// What every attention kernel knows of the rows of a batch: which keys each sees, and, for backward,
//   delta[h, t] = <dy[t,h], y[t,h]>,   lse2[h, t] = log2 sum_s exp(a[t,s])
// in working memory of shape attention_room (ops/attention.hpp): [2, H, padded], delta first, y as it is
// stored. Where there is no valid row, delta = 0 and lse2 = infinity: all of its weights are 0.

#include <cstdint>

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/ops/attention.hpp>

namespace moegrad::cuda::attention {
namespace {

inline constexpr float kLog2e = 1.4426950408889634f;
inline constexpr float kLog2 = 0.6931471805599453f;

/// Rows and keys are counted in int (T below 2^30). Both bounds grow with t and j: a tile of rows walks one
/// range of keys.
struct Rows {
    const std::int32_t *begin, *segment;
    const std::uint8_t* valid;
    int T, window;

    __device__ bool there(int t) const { return t < T && valid[t] != 0; }
    /// First key that row t sees.
    __device__ int first_key(int t) const {
        const int from = begin[segment[t]];
        return window == 0 ? from : max(from, t - window + 1);
    }
    /// One past the last row that sees key j.
    __device__ int end_of_readers(int j) const {
        const int end = begin[segment[j] + 1];
        return window == 0 ? end : min(end, j + window);
    }
};

inline Rows rows_of(const AttentionRows& rows, const AttentionOptions& options) {
    const Index T = rows.segment.extent(0);
    return {rows.begin.data, rows.segment.data, rows.valid.data, static_cast<int>(T),
            static_cast<int>(options.window < T ? options.window : 0)};
}

/// The working memory of backward.
struct Prepared {
    float *delta, *lse2;  // [H, padded]
    int padded;

    explicit Prepared(const View<float, 3>& room)
        : delta(room.data),
          lse2(room.data + room.extent(1) * room.extent(2)),
          padded(static_cast<int>(room.extent(2))) {}
    __device__ Index at(int head, int t) const { return static_cast<Index>(head) * padded + t; }
};

}  // namespace
}  // namespace moegrad::cuda::attention
