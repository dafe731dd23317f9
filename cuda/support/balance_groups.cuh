#pragma once
// Groups of rows (the segments, or the whole micro-batch) and their chunks of kBalanceChunk rows, for sums over a group.
// Chunks are counted from the first row of their group: other groups change no bit of its sums.

#include <moegrad/cuda/support/device_language.cuh>
#include <moegrad/ops/balance_loss.hpp>

namespace moegrad::cuda {
namespace {

/// Group s has chunks first(s), first(s) + 1, ..: at most balance_chunks(T, S) in all.
struct Groups {
    View<const std::int32_t, 1> starts;  // [S + 1]; not read in micro scope
    Index count, T;
    bool sequence;

    __device__ Index begin(Index s) const { return sequence ? starts(s) : 0; }
    __device__ Index end(Index s) const { return sequence ? starts(s + 1) : T; }
    __device__ Index first(Index s) const { return begin(s) / kBalanceChunk + s; }
    /// Behind the last chunk of group s.
    __device__ Index behind(Index s) const {
        return first(s) + (end(s) - begin(s) + kBalanceChunk - 1) / kBalanceChunk;
    }
    /// The last group whose first chunk is not behind `chunk`.
    __device__ Index of(Index chunk) const {
        Index low = 0, high = count;
        while (high - low > 1) {
            const Index middle = (low + high) / 2;
            (first(middle) <= chunk ? low : high) = middle;
        }
        return low;
    }
};

}  // namespace
}  // namespace moegrad::cuda
