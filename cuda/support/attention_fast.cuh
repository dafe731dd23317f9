#pragma once
// The seam between attention and its kernels on tensor cores; nothing else of them is called from outside.
// The emulator of the tests puts a file of this name in its place, whose fits_fast says no.

#include <moegrad/cuda/support/attention_sm90_backward.cuh>
#include <moegrad/cuda/support/attention_sm90_forward.cuh>

namespace moegrad::cuda::attention {
namespace {

/// A matrix that the copy engine reads and 16-byte stores write; also one that nobody wants.
template <class T>
bool fits_hopper(const View<T, 2>& x) {
    return x.data == nullptr || aligned(x);
}

/// Whether Hopper's kernels take this call: the card and the code, the head, all matrices.
template <class... Views>
bool fits_fast(const AttentionOptions& options, const Views&... views) {
    if (!device_limits().hopper) return false;
    return (options.head_dim == 64 || options.head_dim == 128) && (fits_hopper(views) && ...);
}

inline void forward_fast(cudaStream_t stream, const View<const bf16, 2>& q, const View<const bf16, 2>& k,
                         const View<const bf16, 2>& v, const AttentionRows& rows, const View<bf16, 2>& y,
                         const View<float, 2>& lse, const AttentionOptions& options) {
    const auto run = options.head_dim == 64 ? forward_hopper<64> : forward_hopper<128>;
    run(stream, q, k, v, rows, y, lse, options);
}

inline void backward_fast(cudaStream_t stream, const View<const bf16, 2>& q, const View<const bf16, 2>& k,
                          const View<const bf16, 2>& v, const AttentionRows& rows,
                          const View<const bf16, 2>& y, const View<const float, 2>& lse,
                          const View<const bf16, 2>& dy, const View<float, 3>& room,
                          const AttentionGradient<bf16>& dq, const AttentionGradient<bf16>& dk,
                          const AttentionGradient<bf16>& dv, const AttentionOptions& options) {
    const auto run = options.head_dim == 64 ? backward_hopper<64> : backward_hopper<128>;
    run(stream, q, k, v, rows, y, lse, dy, room, dq, dk, dv, options);
}

}  // namespace
}  // namespace moegrad::cuda::attention
