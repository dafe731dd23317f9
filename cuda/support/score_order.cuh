#pragma once
// A score and its column as one number, unlike any other of the row and larger the better it is placed: higher score
// first, then the lower column; a NaN last.

#include <cstdint>

#include <moegrad/cuda/support/teams.cuh>

namespace moegrad::cuda {
namespace {

/// Never 0. Upper half: the score's order, -0 as 0, NaN below -inf; lower half: the lower column is the larger.
__device__ __forceinline__ unsigned long long order_of(float score, Index column) {
    const std::uint32_t bits = score == 0 ? 0 : __builtin_bit_cast(std::uint32_t, score);
    const std::uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    const auto high = static_cast<unsigned long long>(score == score ? ordered : 0);
    return high << 32 | (0xffffffffu - static_cast<std::uint32_t>(column));
}
__device__ __forceinline__ std::int32_t column_of(unsigned long long order) {
    return static_cast<std::int32_t>(0xffffffffu - static_cast<std::uint32_t>(order));
}

/// The best order of a row below `last`, in every lane; 0 where there is none, as in a team without a row. A NaN sets
/// *not_finite.
__device__ __forceinline__ unsigned long long next_best(const Team& team, const float* row, Index columns,
                                                        unsigned long long last, int* not_finite) {
    unsigned long long best = 0;
    for (Index e = team.lane; e < columns; e += team.size) {
        if (row[e] != row[e]) *not_finite = 1;
        const unsigned long long order = order_of(row[e], e);
        if (order < last && order > best) best = order;
    }
    return team_max(team, best);
}

}  // namespace
}  // namespace moegrad::cuda
