#pragma once
// CUDA kernels of ops/embedding.hpp. dw without atomics: tokens are sorted by id, those of one id stay in their order,
// by merging runs of 1, 2, 4, ... keys; then each window of kEmbeddingWindow sorted tokens is summed id by id. An id whose
// tokens lie in one window goes to dw at once, the sums of one that crosses windows are added in their order.
// bf16: y is exact; dw is float, its sums too.

#include <moegrad/cuda/support/groups.cuh>
#include <moegrad/cuda/support/seats.cuh>
#include <moegrad/cuda/support/step_scalars.cuh>
#include <moegrad/ops/embedding.hpp>

namespace moegrad::cuda::embedding {
namespace {

template <int N, class Real>
void forward_groups(cudaStream_t stream, View<const std::int32_t, 1> id, View<const Real, 2> w,
                    View<Real, 2> y, DeviceStatus* failed) {
    groups<N>("embedding", stream, y.extent(0), y.extent(1), nullptr, [=] __device__(Index t, Index d) {
        const Index v = id(t);
        const bool known = v >= 0 && v < w.extent(0);
        if (!known && d == 0) failed->bad_index = 1;
        const auto row = known ? Values<Real, N>::load(w.row(v) + d)
                               : Values<Real, N>::all(__builtin_bit_cast(float, 0x7fc00000u));
        row.store(y.row(t) + d);
    });
}

template <class Real>
void forward(Stream stream, View<const std::int32_t, 1> id, View<const Real, 2> w, View<Real, 2> y) {
    all_aligned(w, y) ? forward_groups<kPack<Real>>(cuda_stream(stream), id, w, y, status())
                      : forward_groups<1>(cuda_stream(stream), id, w, y, status());
}

/// id in the upper half, t in the lower: no two alike, and sorting keeps the order of the tokens of an id.
__device__ __forceinline__ std::int64_t key_of(std::int32_t id, Index t) {
    return static_cast<std::int64_t>(id) << 32 | t;
}
__device__ __forceinline__ std::int32_t id_of(std::int64_t key) {
    return static_cast<std::int32_t>(key >> 32);
}
__device__ __forceinline__ Index token_of(std::int64_t key) {
    return key & 0xffffffff;
}

/// Pairs of neighbouring sorted runs of `width` keys become one: a key's place is its own in its run and the number of
/// smaller keys in the other.
inline void merge_runs(cudaStream_t stream, const std::int64_t* from, std::int64_t* to, Index T,
                       Index width) {
    elements("embedding sort", stream, T, [=] __device__(Index i) {
        const std::int64_t key = from[i];
        const Index pair = i / (2 * width) * (2 * width), middle = pair + width;
        Index low = i < middle ? min(middle, T) : pair, high = i < middle ? min(pair + 2 * width, T) : middle;
        const Index other = low;
        while (low < high) {
            const Index between = (low + high) / 2;
            if (from[between] < key) {
                low = between + 1;
            } else {
                high = between;
            }
        }
        to[(i < middle ? i : i - width) + low - other] = key;
    });
}

/// -> the T sorted keys, in one of the two rows of `key`.
inline const std::int64_t* sort_tokens(cudaStream_t stream, View<const std::int32_t, 1> id,
                                       View<std::int64_t, 2> key) {
    const Index T = id.extent(0);
    std::int64_t *sorted = key.row(0), *next = key.row(1);
    elements("embedding keys", stream, T, [=] __device__(Index t) { sorted[t] = key_of(id(t), t); });
    for (Index width = 1; width < T; width *= 2) {
        merge_runs(stream, sorted, next, T, width);
        std::swap(sorted, next);
    }
    return sorted;
}

/// Window w of the sorted tokens, and how the ids at its ends go on.
struct Window {
    const std::int64_t* key;
    Index begin, end, T;

    __device__ Window(const std::int64_t* sorted, Index w, Index T_)
        : key(sorted), begin(w * kEmbeddingWindow), end(min(T_, begin + kEmbeddingWindow)), T(T_) {}
    __device__ bool ends_id(Index i) const { return i + 1 == T || id_of(key[i + 1]) != id_of(key[i]); }
    __device__ bool continues_before() const { return begin > 0 && !ends_id(begin - 1); }
    __device__ bool continues_after() const { return !ends_id(end - 1); }
    /// All its tokens have one id.
    __device__ bool single() const { return id_of(key[begin]) == id_of(key[end - 1]); }
};

/// part [2 w]: the sum of the id that came from before window w; part [2 w + 1]: of the one that starts in w and goes on.
template <int N, class Real>
void sum_windows(cudaStream_t stream, const std::int64_t* sorted, View<const Real, 2> dy, View<float, 2> dw,
                 Write write, View<float, 2> part) {
    const Index T = dy.extent(0), V = dw.extent(0), windows = part.extent(0) / 2;
    groups<N>("embedding weight", stream, windows, dy.extent(1), nullptr, [=] __device__(Index w, Index d) {
        const Window window(sorted, w, T);
        bool from_before = window.continues_before();
        auto sum = Values<float, N>::all(0);
        for (Index i = window.begin; i < window.end; ++i) {
            const auto row = Values<Real, N>::load(dy.row(token_of(sorted[i])) + d);
#pragma unroll
            for (int j = 0; j < N; ++j) sum[j] += row[j];
            const bool ends = window.ends_id(i);
            if (!ends && i + 1 < window.end) continue;
            const std::int32_t v = id_of(sorted[i]);
            if (from_before || !ends) {
                sum.store(part.row(2 * w + (from_before ? 0 : 1)) + d);
            } else if (v >= 0 && v < V) {
                sum.put(dw.row(v) + d, write);
            }
            sum = Values<float, N>::all(0);
            from_before = false;
        }
    });
}

/// The ids that start in window w and go on after it.
template <int N>
void sum_parts(cudaStream_t stream, const std::int64_t* sorted, Index T, View<float, 2> dw, Write write,
               View<float, 2> part) {
    const Index V = dw.extent(0), windows = part.extent(0) / 2;
    groups<N>("embedding weight", stream, windows, dw.extent(1), nullptr, [=] __device__(Index w, Index d) {
        const Window first(sorted, w, T);
        const std::int32_t v = id_of(sorted[first.end - 1]);
        if (!first.continues_after() || (first.single() && first.continues_before()) || v < 0 || v >= V)
            return;
        auto sum = Values<float, N>::load(part.row(2 * w + 1) + d);
        bool goes_on = true;
        for (Index next = w + 1; goes_on; ++next) {
            const Window window(sorted, next, T);
            const auto more = Values<float, N>::load(part.row(2 * next) + d);
#pragma unroll
            for (int j = 0; j < N; ++j) sum[j] += more[j];
            goes_on = window.single() && window.continues_after();
        }
        sum.put(dw.row(v) + d, write);
    });
}

template <int N, class Real>
void backward_groups(cudaStream_t stream, View<const std::int32_t, 1> id, View<const Real, 2> dy,
                     View<float, 2> dw, Write write, EmbeddingRoom<Real> room) {
    if (write == Write::overwrite) {
        groups<N>("embedding weight", stream, dw.extent(0), dw.extent(1), nullptr,
                  [=] __device__(Index v, Index d) { Values<float, N>::all(0).store(dw.row(v) + d); });
    }
    if (id.extent(0) == 0) return;
    const std::int64_t* sorted = sort_tokens(stream, id, room.key);
    sum_windows<N>(stream, sorted, dy, dw, write, room.part);
    sum_parts<N>(stream, sorted, id.extent(0), dw, write, room.part);
}

template <class Real>
void backward_weight(Stream stream, View<const std::int32_t, 1> id, View<const Real, 2> dy, View<float, 2> dw,
                     Write write, EmbeddingRoom<Real> room) {
    constexpr int N = kPack<float>;                                  // a warp's stores to dw leave no gaps
    const bool wide = all_aligned(dy, dw) && dw.extent(1) % N == 0;  // room.part is dense: aligned then
    wide ? backward_groups<N>(cuda_stream(stream), id, dy, dw, write, room)
         : backward_groups<1>(cuda_stream(stream), id, dy, dw, write, room);
}

template <class Real>
constexpr EmbeddingKernels<Real> kernels{forward<Real>, backward_weight<Real>};

}  // namespace
}  // namespace moegrad::cuda::embedding

MOEGRAD_CUDA_SEATS(embedding)
