#pragma once
// CUDA kernels of ops/slice_prior.hpp: a warp per token for the products, a thread per token for the choice.

#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/teams.cuh>
#include <moegrad/ops/slice_prior.hpp>

namespace moegrad::cuda::slice_prior {
namespace {

template <class Real>
void gram(Stream stream, View<const Real, 2> h, View<const std::int32_t, 2> slot_row, View<const Real, 2> o,
          View<float, 2> gram) {
    const Index E = slot_row.extent(1), D = o.extent(1);
    teams("slice_prior", cuda_stream(stream), slot_row.extent(0), D, [=] __device__(Index t, Team team) {
        const bool rows =
            slot_row(t, 0) >= 0;  // a token without rows: every lane goes through the sums, over nothing
        const Index columns = rows ? D : 0;
        for (Index i = 0; i <= E; ++i) {
            for (Index j = 0; j <= i; ++j) {
                const Real* a = !rows || i == E ? o.row(t) : h.row(slot_row(t, i));
                const Real* b = !rows || j == E ? o.row(t) : h.row(slot_row(t, j));
                const float product = row_sum(team, columns, [=](Index d) {
                    return static_cast<float>(a[d]) * static_cast<float>(b[d]);
                });
                if (!team.leads() || !rows) continue;
                gram(t, i * (E + 1) + j) = gram(t, j * (E + 1) + i) = product;
            }
        }
    });
}

inline void choose(Stream stream, View<const float, 2> gram, View<const std::int32_t, 2> slot_row, Index k,
                   SlicePrior by, View<float, 2> label) {
    const Index E = slot_row.extent(1);
    elements("slice_prior choose", cuda_stream(stream), slot_row.extent(0), [=] __device__(Index t) {
        const bool rows = slot_row(t, 0) >= 0;
        const std::uint32_t chosen = rows ? SliceChoice<float>{gram.row(t), E, k}(by) : 0;
        for (Index e = 0; e < E; ++e) label(t, e) = static_cast<float>(chosen >> e & 1u);
    });
}

template <class Real>
constexpr SlicePriorKernels<Real> kernels{gram<Real>, choose};

}  // namespace
}  // namespace moegrad::cuda::slice_prior

MOEGRAD_CUDA_SEATS(slice_prior)
