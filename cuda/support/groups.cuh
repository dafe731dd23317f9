#pragma once
// Element-wise kernels over matrices [rows, columns] with any pitch: a thread takes N neighbouring columns, 16 bytes of
// them where every matrix allows it, one where not. A kernel is written once, over N:
//
//   template <int N, class Real>
//   void run(cudaStream_t stream, View<const Real, 2> x, View<Real, 2> y) {
//       groups<N>("op", stream, y.extent(0), y.extent(1), nullptr, [=] __device__(Index t, Index d) {
//           auto value = Values<Real, N>::load(x.row(t) + d); ...
//       });
//   }
//   all_aligned(x, y) ? run<kPack<Real>>(stream, x, y) : run<1>(stream, x, y);

#include <moegrad/cuda/support/rows.cuh>

namespace moegrad::cuda {

/// How many make 16 bytes.
template <class T>
inline constexpr int kPack = Pack<T>::kSize;

/// N neighbouring numbers of type T, in float: N = 1, or in pieces of 16 bytes, or one piece of 8.
template <class T, int N>
struct Values {
    static_assert(N == 1 || N % kPack<T> == 0 || 2 * N == kPack<T>);
    using Piece = Pack<T, (N < kPack<T> ? 2 : 4)>;
    float value[N];

    __device__ __forceinline__ static Values load(const T* from) {
        Values values;
        if constexpr (N == 1) {
            values.value[0] = wide(*from);
        } else {
#pragma unroll
            for (int i = 0; i < N; i += Piece::kSize) {
                const Piece piece = Piece::load(from + i);
#pragma unroll
                for (int j = 0; j < Piece::kSize; ++j) values.value[i + j] = piece.value[j];
            }
        }
        return values;
    }
    __device__ __forceinline__ static Values all(float x) {
        Values values;
#pragma unroll
        for (int i = 0; i < N; ++i) values.value[i] = x;
        return values;
    }
    __device__ __forceinline__ void store(T* to) const {
        if constexpr (N == 1) {
            *to = narrow<T>(value[0]);
        } else {
#pragma unroll
            for (int i = 0; i < N; i += Piece::kSize) {
                Piece piece;
#pragma unroll
                for (int j = 0; j < Piece::kSize; ++j) piece.value[j] = value[i + j];
                piece.store(to + i);
            }
        }
    }
    __device__ __forceinline__ void put(T* to, Write write) const {
        if (write == Write::overwrite) return store(to);
        Values sum = load(to);
#pragma unroll
        for (int i = 0; i < N; ++i) sum.value[i] += value[i];
        sum.store(to);
    }
    __device__ __forceinline__ float& operator[](int i) {
        return value[i];
    }
    __device__ __forceinline__ float operator[](int i) const {
        return value[i];
    }
};

/// Whether every one of the matrices may be read 16 bytes at a time.
template <class... Views>
bool all_aligned(const Views&... views) {
    return (aligned(views) && ...);
}

namespace {

template <int N, class Body>
__global__ void __launch_bounds__(kThreads)
    groups_kernel(EarlierKernels earlier, Index rows, Index in_row, const std::int32_t* existing, Body body) {
    earlier.wait();
    if (existing != nullptr) rows = min(rows, static_cast<Index>(*existing));
    const Index n = rows * in_row, step = static_cast<Index>(gridDim.x) * blockDim.x;
    for (Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
        const Index row = i / in_row;
        body(row, (i - row * in_row) * N);
    }
}

/// body(row, column) for the first column of every group of N, in any order; N divides `columns`.
/// existing [1]: how many of the rows exist, on the device; nullptr: all.
template <int N, class Body>
void groups(const char* place, cudaStream_t stream, Index rows, Index columns, const std::int32_t* existing,
            Body body) {
    const Index in_row = columns / N;
    launch_early(place, groups_kernel<N, Body>, dim3(blocks_for(rows * in_row, kThreads)), dim3(kThreads), 0,
                 stream, rows, in_row, existing, body);
}

template <int N, class From, class To>
void put_groups(const char* place, cudaStream_t stream, View<const From, 2> from, View<To, 2> to,
                Write write) {
    groups<N>(place, stream, to.extent(0), to.extent(1), nullptr, [=] __device__(Index r, Index c) {
        const auto read = Values<From, N>::load(from.row(r) + c);
        Values<To, N> written;
#pragma unroll
        for (int i = 0; i < N; ++i) written[i] = read[i];
        written.put(to.row(r) + c, write);
    });
}

/// to = from, or to += from, also into another number type: rounded once. A warp's stores leave no gaps: threads that
/// write 32 bytes each, as two stores of 16, reach three quarters of the rate.
template <class From, class To>
void put_matrix(const char* place, cudaStream_t stream, View<const From, 2> from, View<To, 2> to,
                Write write) {
    constexpr int N = kPack<To>;
    all_aligned(from, to) && to.extent(1) % N == 0 ? put_groups<N>(place, stream, from, to, write)
                                                   : put_groups<1>(place, stream, from, to, write);
}

}  // namespace
}  // namespace moegrad::cuda
