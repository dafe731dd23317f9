#pragma once
// Between chosen columns and whole rows, in groups: an index counts within its group; below 0 it names no column.
//   pick     chosen[t,k] = row[t, index[t,k]],   0 without a column
//   spread   row[t,c] = sum_{k: index[t,k] = c} chosen[t,k], in the order of k
// The two are each other's transpose: forward and backward of take, backward and forward of scatter.
// An index beyond its group names no column either and sets status()->bad_index.

#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/cuda/support/teams.cuh>

namespace moegrad::cuda {
namespace {

inline void pick(const char* place, Stream stream, View<const float, 2> row,
                 View<const std::int32_t, 2> index, View<float, 2> chosen, Index groups, Write write) {
    const Index E = row.extent(1) / groups, K = index.extent(1) / groups;
    int* bad_index = &status()->bad_index;
    teams(place, cuda_stream(stream), index.extent(0), K, [=] __device__(Index t, Team team) {
        for (Index g = 0; g < groups; ++g) {
            for (Index k = g * K + team.lane; k < (g + 1) * K; k += team.size) {
                const Index column = index(t, k);
                if (column >= E) *bad_index = 1;
                put(chosen(t, k), column < 0 || column >= E ? 0 : row(t, g * E + column), write);
            }
        }
    });
}

inline void spread(const char* place, Stream stream, View<const float, 2> chosen,
                   View<const std::int32_t, 2> index, View<float, 2> row, Index groups, Write write) {
    const Index E = row.extent(1) / groups, K = index.extent(1) / groups;
    int* bad_index = &status()->bad_index;
    teams(place, cuda_stream(stream), row.extent(0), E, [=] __device__(Index t, Team team) {
        for (Index g = 0; g < groups; ++g) {
            const std::int32_t* at = index.row(t) + g * K;
            const float* from = chosen.row(t) + g * K;
            float* to = row.row(t) + g * E;
            for (Index c = team.lane; c < E; c += team.size) {
                float sum = write == Write::overwrite ? 0 : to[c];
                for (Index k = 0; k < K; ++k) {
                    if (at[k] == c) sum += from[k];
                }
                to[c] = sum;
            }
            for (Index k = team.lane; k < K; k += team.size) {
                if (at[k] >= E) *bad_index = 1;
            }
        }
    });
}

}  // namespace
}  // namespace moegrad::cuda
