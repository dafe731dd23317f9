#pragma once
// CUDA kernels of ops/rms_norm.hpp: one block a row, which stays in registers between its sum and its result; dw in two
// stages, first over kRmsNormRows rows each, then over those sums, both in order.
// bf16: y and dx are rounded once (and once more with a sum into dx), and so is x = a + b, before it is read on; r, dw and every
// sum are float.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/ops/rms_norm.hpp>

namespace moegrad::cuda::rms_norm {
namespace {

constexpr int kKept = 2;  // groups of columns a thread keeps in registers; longer rows are read twice
constexpr int kLargestBlock = 1024;

/// Threads for a row of `groups` groups of columns: from the shape alone, as the order of the sums follows from it.
inline int row_threads(Index groups) {
    const Index warps = (groups + kKept * kWarp - 1) / (kKept * kWarp);
    return static_cast<int>(std::clamp<Index>(warps * kWarp, kWarp, kLargestBlock));
}
inline unsigned row_blocks(Index T) {
    return static_cast<unsigned>(std::min<Index>(T, Index{1} << 30));
}

/// What a thread holds of a row: groups threadIdx.x + k blockDim.x, k < kKept, of N columns each.
template <class Real, int N>
struct Kept {
    Values<Real, N> group[kKept];

    template <class Body>
    __device__ __forceinline__ static void each(Index columns, Body body) {
#pragma unroll
        for (int k = 0; k < kKept; ++k) {
            const Index d = (threadIdx.x + static_cast<Index>(k) * blockDim.x) * N;
            if (d < columns) body(k, d);
        }
    }
    /// body(d) for the groups that are not kept.
    template <class Body>
    __device__ __forceinline__ static void rest(Index columns, Body body) {
        const Index step = static_cast<Index>(blockDim.x) * N;
        for (Index d = threadIdx.x * N + kKept * step; d < columns; d += step) body(d);
    }
    __device__ __forceinline__ void load(const Real* row, Index columns) {
        each(columns, [&](int k, Index d) { group[k] = Values<Real, N>::load(row + d); });
    }
};

/// Rows that lie there.
template <class Real>
struct Rows {
    View<const Real, 2> x;

    template <int N>
    __device__ __forceinline__ Values<Real, N> first(Index t, Index d) const {
        return again<N>(t, d);
    }
    template <int N>
    __device__ __forceinline__ Values<Real, N> again(Index t, Index d) const {
        return Values<Real, N>::load(x.row(t) + d);
    }
};

/// Rows a + b, which the first reading writes to x.
template <class Real>
struct SummedRows {
    View<const Real, 2> a, b;
    View<Real, 2> x;

    template <int N>
    __device__ __forceinline__ Values<Real, N> first(Index t, Index d) const {
        auto sum = Values<Real, N>::load(a.row(t) + d);
        const auto other = Values<Real, N>::load(b.row(t) + d);
#pragma unroll
        for (int i = 0; i < N; ++i) sum[i] = wide(narrow<Real>(sum[i] + other[i]));
        sum.store(x.row(t) + d);
        return sum;
    }
    template <int N>
    __device__ __forceinline__ Values<Real, N> again(Index t, Index d) const {
        return Values<Real, N>::load(x.row(t) + d);
    }
};

template <int N, class Real, template <class> class Source>
__global__ void __launch_bounds__(kLargestBlock)
    forward_kernel(EarlierKernels earlier, Source<Real> rows, View<const Real, 1> w, View<Real, 2> y,
                   View<float, 1> r, float eps) {
    earlier.wait();
    using Group = Values<Real, N>;
    const Index T = y.extent(0), D = y.extent(1);
    for (Index t = blockIdx.x; t < T; t += gridDim.x) {
        Kept<Real, N> kept;
        kept.each(D, [&](int k, Index d) { kept.group[k] = rows.template first<N>(t, d); });
        float squares = 0;
        const auto add = [&](const Group& group) {
#pragma unroll
            for (int i = 0; i < N; ++i) squares += group[i] * group[i];
        };
        kept.each(D, [&](int k, Index) { add(kept.group[k]); });
        kept.rest(D, [&](Index d) { add(rows.template first<N>(t, d)); });
        const float scale = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(D) + eps);
        const auto write = [&](Group group, Index d) {
            const auto weight = Group::load(w.data + d);
#pragma unroll
            for (int i = 0; i < N; ++i) group[i] = group[i] * scale * weight[i];
            group.store(y.row(t) + d);
        };
        kept.each(D, [&](int k, Index d) { write(kept.group[k], d); });
        kept.rest(D, [&](Index d) { write(rows.template again<N>(t, d), d); });
        if (threadIdx.x == 0) r(t) = scale;
    }
}

/// g = dy w of N columns.
template <int N, class Real>
__device__ __forceinline__ Values<Real, N> weighted(const Real* dy, const Real* w) {
    auto g = Values<Real, N>::load(dy);
    const auto weight = Values<Real, N>::load(w);
#pragma unroll
    for (int i = 0; i < N; ++i) g[i] *= weight[i];
    return g;
}

template <int N, class Real>
__global__ void __launch_bounds__(kLargestBlock)
    backward_input_kernel(EarlierKernels earlier, View<const Real, 2> x, View<const Real, 1> w,
                          View<const float, 1> r, View<const Real, 2> dy, View<Real, 2> dx, Write write) {
    earlier.wait();
    using Group = Values<Real, N>;
    const Index T = x.extent(0), D = x.extent(1);
    for (Index t = blockIdx.x; t < T; t += gridDim.x) {
        Kept<Real, N> kept_x, kept_g;
        kept_x.load(x.row(t), D);
        kept_g.each(D, [&](int k, Index d) { kept_g.group[k] = weighted<N>(dy.row(t) + d, w.data + d); });
        float dot = 0;
        const auto add = [&](const Group& g, const Group& a) {
#pragma unroll
            for (int i = 0; i < N; ++i) dot += g[i] * a[i];
        };
        kept_x.each(D, [&](int k, Index) { add(kept_g.group[k], kept_x.group[k]); });
        kept_x.rest(D,
                    [&](Index d) { add(weighted<N>(dy.row(t) + d, w.data + d), Group::load(x.row(t) + d)); });
        const float scale = r(t), shift = scale * scale * block_sum(dot) / static_cast<float>(D);
        const auto put = [&](Group g, const Group& a, Index d) {
#pragma unroll
            for (int i = 0; i < N; ++i) g[i] = scale * (g[i] - a[i] * shift);
            g.put(dx.row(t) + d, write);
        };
        kept_x.each(D, [&](int k, Index d) { put(kept_g.group[k], kept_x.group[k], d); });
        kept_x.rest(
            D, [&](Index d) { put(weighted<N>(dy.row(t) + d, w.data + d), Group::load(x.row(t) + d), d); });
    }
}

/// part[b, d] = sum over the rows of block b of dy x r, in order. A thread has N columns of one block of rows.
template <int N, class Real>
__global__ void __launch_bounds__(kThreads) weight_parts_kernel(View<const Real, 2> x, View<const float, 1> r,
                                                                View<const Real, 2> dy, View<float, 2> part) {
    const Index T = x.extent(0), D = x.extent(1), in_row = D / N, n = part.extent(0) * in_row;
    const Index step = static_cast<Index>(gridDim.x) * blockDim.x;
    for (Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
        const Index b = i / in_row, d = (i - b * in_row) * N, begin = b * kRmsNormRows;
        const Index end = min(T, begin + kRmsNormRows);
        float sum[N] = {};
#pragma unroll 4
        for (Index t = begin; t < end; ++t) {
            const auto a = Values<Real, N>::load(x.row(t) + d), g = Values<Real, N>::load(dy.row(t) + d);
            const float scale = r(t);
#pragma unroll
            for (int j = 0; j < N; ++j) sum[j] += g[j] * a[j] * scale;
        }
#pragma unroll
        for (int j = 0; j < N; ++j) part(b, d + j) = sum[j];
    }
}

constexpr int kSlices = 8;

/// dw[d] = sum over the parts: kWarp columns a block, the parts in kSlices interleaved sums, then those in order.
__global__ void __launch_bounds__(kWarp* kSlices)
    weight_kernel(View<const float, 2> part, View<float, 1> dw, Write write) {
    __shared__ float slices[kSlices][kWarp];
    const int lane = static_cast<int>(threadIdx.x) % kWarp, slice = static_cast<int>(threadIdx.x) / kWarp;
    const Index d = static_cast<Index>(blockIdx.x) * kWarp + lane;
    float sum = 0;
    if (d < dw.extent(0)) {
#pragma unroll 4
        for (Index b = slice; b < part.extent(0); b += kSlices) sum += part(b, d);
    }
    slices[slice][lane] = sum;
    __syncthreads();
    if (slice > 0 || d >= dw.extent(0)) return;
    for (int s = 1; s < kSlices; ++s) sum += slices[s][lane];
    put(dw(d), sum, write);
}

template <template <class> class Source, class Real>
void forward_rows(Stream stream, const Source<Real>& rows, bool wide, View<const Real, 1> w, View<Real, 2> y,
                  View<float, 1> r, double eps) {
    const Index T = y.extent(0), D = y.extent(1);
    const auto kernel = wide ? forward_kernel<kPack<Real>, Real, Source> : forward_kernel<1, Real, Source>;
    launch_early("rms_norm", kernel, dim3(row_blocks(T)), dim3(row_threads(wide ? D / kPack<Real> : D)), 0,
                 cuda_stream(stream), rows, w, y, r, static_cast<float>(eps));
}

template <class Real>
void forward(Stream stream, View<const Real, 2> x, View<const Real, 1> w, View<Real, 2> y, View<float, 1> r,
             double eps) {
    forward_rows<Rows>(stream, Rows<Real>{x}, all_aligned(x, w, y), w, y, r, eps);
}

template <class Real>
void sum_forward(Stream stream, View<const Real, 2> a, View<const Real, 2> b, View<const Real, 1> w,
                 View<Real, 2> x, View<Real, 2> y, View<float, 1> r, double eps) {
    forward_rows<SummedRows>(stream, SummedRows<Real>{a, b, x}, all_aligned(a, b, w, x, y), w, y, r, eps);
}

template <class Real>
void backward_input(Stream stream, View<const Real, 2> x, View<const Real, 1> w, View<const float, 1> r,
                    View<const Real, 2> dy, View<Real, 2> dx, Write write) {
    const bool wide = all_aligned(x, w, dy, dx);
    const Index D = x.extent(1);
    const auto kernel = wide ? backward_input_kernel<kPack<Real>, Real> : backward_input_kernel<1, Real>;
    launch_early("rms_norm backward", kernel, dim3(row_blocks(x.extent(0))),
                 dim3(row_threads(wide ? D / kPack<Real> : D)), 0, cuda_stream(stream), x, w, r, dy, dx,
                 write);
}

template <class Real>
void backward_weight(Stream stream, View<const Real, 2> x, View<const float, 1> r, View<const Real, 2> dy,
                     View<float, 1> dw, Write write, View<float, 2> part) {
    const bool wide = all_aligned(x, dy);
    const Index D = x.extent(1), n = part.extent(0) * (wide ? D / kPack<Real> : D);
    const auto kernel = wide ? weight_parts_kernel<kPack<Real>, Real> : weight_parts_kernel<1, Real>;
    launch("rms_norm weight", kernel, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0, cuda_stream(stream),
           x, r, dy, part);
    launch("rms_norm weight", weight_kernel, dim3(static_cast<unsigned>((D + kWarp - 1) / kWarp)),
           dim3(kWarp * kSlices), 0, cuda_stream(stream), part, dw, write);
}

template <class Real>
constexpr RmsNormKernels<Real> kernels{forward<Real>, sum_forward<Real>, backward_input<Real>,
                                       backward_weight<Real>};

}  // namespace
}  // namespace moegrad::cuda::rms_norm

MOEGRAD_CUDA_SEATS(rms_norm)
