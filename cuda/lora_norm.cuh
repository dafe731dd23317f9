#pragma once
// CUDA kernels of ops/lora_norm.hpp: two products and one warp a row. bf16: everything behind the weights is float.

#include <moegrad/cuda/support/products.cuh>
#include <moegrad/cuda/support/rows.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/lora_norm.hpp>

namespace moegrad::cuda::lora_norm {
namespace {

template <class Real>
void norms(Stream stream, View<const Real, 2> w, View<const Real, 2> A, View<const Real, 2> B, double scale,
           View<float, 2> p, View<float, 2> g, View<float, 1> n) {
    multiply_rows("lora_norm, w A", stream, w, A, p, Write::overwrite);
    multiply_rows("lora_norm, A A", stream, A, A, g, Write::overwrite);
    const Index D = w.extent(1), R = A.extent(0);
    const float s = static_cast<float>(scale);
    warps("lora_norm", cuda_stream(stream), w.extent(0), [=] __device__(Index o, int lane) {
        const Real *wo = w.row(o), *bo = B.row(o);
        float square = 0;
        for (Index d = lane; d < D; d += kWarp) square += wide(wo[d]) * wide(wo[d]);
        for (Index r = lane; r < R; r += kWarp) {
            float gram = 0;
            for (Index q = 0; q < R; ++q) gram += g(r, q) * wide(bo[q]);
            square += s * wide(bo[r]) * (2 * p(o, r) + s * gram);
        }
        square = warp_sum(square);
        if (lane == 0) n(o) = square < 0 ? 0.0f : sqrtf(square);
    });
}

template <class Real>
constexpr LoraNormKernels<Real> kernels{norms<Real>};

}  // namespace
}  // namespace moegrad::cuda::lora_norm

MOEGRAD_CUDA_SEATS(lora_norm)
