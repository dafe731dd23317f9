#pragma once
// CUDA kernels of ops/swiglu.hpp: formulas there, in float. Rows at or beyond *rows are left alone; the count is read on
// the device. bf16: y, d_gate and d_up are rounded once, and once more with every sum into them.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/swiglu.hpp>

namespace moegrad::cuda::swiglu {
namespace {

/// bf16 keeps 8 bits: the fast exponential and division are exact enough below its rounding.
template <class Real>
__device__ __forceinline__ float sigmoid(float z) {
#if defined(__CUDA_ARCH__)
    if constexpr (std::is_same_v<Real, bf16>) return __fdividef(1.0f, 1.0f + __expf(-z));
#endif
    return 1.0f / (1.0f + expf(-z));
}

template <int N, class Real>
void forward_groups(cudaStream_t stream, View<const Real, 2> gate, View<const Real, 2> up, View<Real, 2> y,
                    const std::int32_t* rows) {
    groups<N>("swiglu", stream, y.extent(0), y.extent(1), rows, [=] __device__(Index n, Index f) {
        const auto g = Values<Real, N>::load(gate.row(n) + f);
        auto h = Values<Real, N>::load(up.row(n) + f);
#pragma unroll
        for (int i = 0; i < N; ++i) h[i] *= g[i] * sigmoid<Real>(g[i]);
        h.store(y.row(n) + f);
    });
}

template <int N, class Real>
void backward_groups(cudaStream_t stream, View<const Real, 2> gate, View<const Real, 2> up,
                     View<const Real, 2> dy, View<Real, 2> d_gate, Write write_gate, View<Real, 2> d_up,
                     Write write_up, const std::int32_t* rows) {
    groups<N>("swiglu backward", stream, dy.extent(0), dy.extent(1), rows, [=] __device__(Index n, Index f) {
        const auto g = Values<Real, N>::load(gate.row(n) + f);
        const auto u = Values<Real, N>::load(up.row(n) + f);
        const auto d = Values<Real, N>::load(dy.row(n) + f);
        Values<Real, N> gate_term, up_term;
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const float s = sigmoid<Real>(g[i]);
            gate_term[i] = d[i] * u[i] * s * (1.0f + g[i] * (1.0f - s));
            up_term[i] = d[i] * (g[i] * s);
        }
        // In this order: both may go into one tensor, swiglu(x, x).
        if (d_gate.data != nullptr) gate_term.put(d_gate.row(n) + f, write_gate);
        if (d_up.data != nullptr) up_term.put(d_up.row(n) + f, write_up);
    });
}

template <class Real>
void forward(Stream stream, View<const Real, 2> gate, View<const Real, 2> up, View<Real, 2> y,
             const std::int32_t* rows) {
    all_aligned(gate, up, y) ? forward_groups<kPack<Real>>(cuda_stream(stream), gate, up, y, rows)
                             : forward_groups<1>(cuda_stream(stream), gate, up, y, rows);
}

template <class Real>
void backward(Stream stream, View<const Real, 2> gate, View<const Real, 2> up, View<const Real, 2> dy,
              View<Real, 2> d_gate, Write write_gate, View<Real, 2> d_up, Write write_up,
              const std::int32_t* rows) {
    const bool wide = all_aligned(gate, up, dy) && (d_gate.data == nullptr || aligned(d_gate)) &&
                      (d_up.data == nullptr || aligned(d_up));
    const auto run = wide ? backward_groups<kPack<Real>, Real> : backward_groups<1, Real>;
    run(cuda_stream(stream), gate, up, dy, d_gate, write_gate, d_up, write_up, rows);
}

template <class Real>
constexpr SwigluKernels<Real> kernels{forward<Real>, backward<Real>};

}  // namespace
}  // namespace moegrad::cuda::swiglu

MOEGRAD_CUDA_SEATS(swiglu)
