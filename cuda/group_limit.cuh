#pragma once
// CUDA kernel of ops/group_limit.hpp: a thread writes one group of a token, the last one the columns behind the groups. Each
// reads the whole row, from the cache. The score of a group is one addition: the same groups as on the CPU.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/group_limit.hpp>

namespace moegrad::cuda::group_limit {
namespace {

inline void limit(Stream stream, View<const float, 2> x, View<float, 2> y, GroupLimit limit) {
    const Index C = x.extent(1), parts = limit.groups + 1;
    elements("group_limit", cuda_stream(stream), x.extent(0) * parts, [=] __device__(Index i) {
        const Index t = i / parts, j = i % parts;
        const bool free = j == limit.groups, kept = free || limit.keeps(x.row(t), j);
        const Index end = free ? C : limit.begin(j + 1);
        for (Index c = free ? limit.columns : limit.begin(j); c < end; ++c) {
            y(t, c) = kept || x(t, c) != x(t, c) ? x(t, c) : -INFINITY;
        }
    });
}

template <class Real>
constexpr GroupLimitKernels<Real> kernels{limit};

}  // namespace
}  // namespace moegrad::cuda::group_limit

MOEGRAD_CUDA_FLOAT_SEAT(group_limit)
