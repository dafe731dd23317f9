#pragma once
// CUDA kernels of ops/expert_swiglu.hpp.
// bf16 on tensor cores: the tile that made z makes h of it, the tile that made dh makes dz and h of it and of z: dh is
// never stored. Else grouped_linear's products and one pass over the rows.
// bf16: z is rounded once and h is made of the rounded z, and rounded; dz is rounded once. dh is float on tensor cores,
// and rounded where it passes through memory: without them, or with dropout on the way of down's adapter.

#include <moegrad/cuda/support/grouped_product.cuh>
#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/expert_swiglu.hpp>

namespace moegrad::cuda::expert_swiglu {
namespace {

template <class Real>
grouped::Operands<Real> operands(View<const Real, 2> a, View<const Real, 3> b, LowRank<Real> low,
                                 const DispatchView& plan, const std::int32_t* list) {
    return {a, b, low.u, low.weight, plan.expert_begin.data, list};
}

inline const std::int32_t* routed_rows(const DispatchView& plan) {
    return plan.expert_begin.data + plan.expert_begin.extent(0) - 1;
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 3> w, LowRank<Real> low,
             DispatchView plan, RowSource source, View<Real, 2> z, View<Real, 2> h) {
    const bool gathers = source == RowSource::tokens;
    const auto product = operands(x, w, low, plan, gathers ? plan.row_token.data : nullptr);
    const int F = static_cast<int>(h.columns());
    if constexpr (std::is_same_v<Real, bf16> && grouped::kTensorCores) {
        if (F == 0 || product.experts() == 0) return;
        return grouped::fast_rows(cuda_stream(stream), product,
                                  grouped::Swiglu{z.data, h.data, z.pitch, h.pitch, F});
    }
    grouped::rows(cuda_stream(stream), product,
                  grouped::Store<Real>{z.data, z.pitch, 2 * F, Write::overwrite});
    swiglu_slot.get<Real>(Device::cuda)
        .forward(stream, {z.data, h.extents, z.pitch}, {z.data + F, h.extents, z.pitch}, h,
                 routed_rows(plan));
}

template <int N, class Real>
void gradient_groups(cudaStream_t stream, const std::int32_t* rows, View<Real, 2> z, View<Real, 2> h) {
    const Index F = h.columns();
    groups<N>("expert_swiglu backward", stream, h.extent(0), F, rows, [=] __device__(Index n, Index f) {
        Real *gate = z.row(n) + f, *up = gate + F, *dh = h.row(n) + f;
        auto g = Values<Real, N>::load(gate), u = Values<Real, N>::load(up), d = Values<Real, N>::load(dh);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const float s = 1.0f / (1.0f + expf(-g[i])), silu = g[i] * s,
                        slope = s * (1.0f + g[i] * (1.0f - s));
            const float d_gate = d[i] * u[i] * slope, d_up = d[i] * silu;
            d[i] = silu * u[i], g[i] = d_gate, u[i] = d_up;
        }
        g.store(gate), u.store(up), d.store(dh);
    });
}

template <class Real>
void gradient(Stream stream, DispatchView plan, View<Real, 2> z, View<Real, 2> h) {
    const View<Real, 2> gate{z.data, h.extents, z.pitch};
    const auto run = all_aligned(gate, h) ? gradient_groups<kPack<Real>, Real> : gradient_groups<1, Real>;
    run(cuda_stream(stream), routed_rows(plan), z, h);
}

template <class Real>
void backward(Stream stream, View<const Real, 2> dy, View<const Real, 3> w, LowRank<Real> low,
              DispatchView plan, View<Real, 2> z, View<Real, 2> h) {
    const auto product = operands(dy, w, low, plan, nullptr);
    const int F = static_cast<int>(h.columns());
    if constexpr (std::is_same_v<Real, bf16> && grouped::kTensorCores) {
        if (F == 0 || product.experts() == 0) return;
        const grouped::SwigluGradient to{z.data, z.data, h.data, z.pitch, z.pitch, h.pitch, F};
        return grouped::fast_rows_across(cuda_stream(stream), product, to);
    }
    grouped::rows_across(cuda_stream(stream), product,
                         grouped::Store<Real>{h.data, h.pitch, F, Write::overwrite});
    gradient(stream, plan, z, h);
}

template <class Real>
constexpr ExpertSwigluKernels<Real> kernels{forward<Real>, backward<Real>, gradient<Real>};

}  // namespace
}  // namespace moegrad::cuda::expert_swiglu

MOEGRAD_CUDA_SEATS(expert_swiglu)
