#pragma once
// CUDA kernel of ops/rope.hpp: a thread turns the pairs of N columns i with i + head/2. A position that the table does not
// hold gives NaN and status()->bad_index. bf16: turned in float, y rounded once (and once more with a sum into it).

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/rope.hpp>

namespace moegrad::cuda::rope {
namespace {

template <int N, class Real>
void rotate_groups(cudaStream_t stream, View<const Real, 2> x, View<const float, 2> cos,
                   View<const float, 2> sin, View<const std::int32_t, 1> position, View<Real, 2> y,
                   float direction, Write write, DeviceStatus* failed) {
    const Index half = cos.extent(1), heads = x.extent(1) / (2 * half);
    groups<N>("rope", stream, x.extent(0) * heads, half, nullptr, [=] __device__(Index th, Index i) {
        const Index t = th / heads, first = (th - t * heads) * 2 * half + i, second = first + half;
        const Index p = position(t);
        const bool known = p >= 0 && p < cos.extent(0);
        if (!known) failed->bad_index = 1;
        const auto c = known ? Values<float, N>::load(cos.row(p) + i)
                             : Values<float, N>::all(__builtin_bit_cast(float, 0x7fc00000u));
        const auto s = known ? Values<float, N>::load(sin.row(p) + i) : c;
        const auto x1 = Values<Real, N>::load(x.row(t) + first),
                   x2 = Values<Real, N>::load(x.row(t) + second);
        Values<Real, N> y1, y2;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const float turn = direction * s[j];
            y1[j] = x1[j] * c[j] - x2[j] * turn;
            y2[j] = x2[j] * c[j] + x1[j] * turn;
        }
        y1.put(y.row(t) + first, write);
        y2.put(y.row(t) + second, write);
    });
}

template <class Real>
void rotate(Stream stream, View<const Real, 2> x, View<const float, 2> cos, View<const float, 2> sin,
            View<const std::int32_t, 1> position, View<Real, 2> y, Rotation rotation, Write write) {
    constexpr int N = kPack<Real>;
    const bool wide = all_aligned(x, cos, sin, y) && cos.extent(1) % N == 0;
    const float direction = rotation == Rotation::forward ? 1.0f : -1.0f;
    wide ? rotate_groups<N>(cuda_stream(stream), x, cos, sin, position, y, direction, write, status())
         : rotate_groups<1>(cuda_stream(stream), x, cos, sin, position, y, direction, write, status());
}

template <class Real>
constexpr RopeKernels<Real> kernels{rotate<Real>};

}  // namespace
}  // namespace moegrad::cuda::rope

MOEGRAD_CUDA_SEATS(rope)
