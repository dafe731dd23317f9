#pragma once
// In the place of cuda/support/cluster.cuh: the emulator runs one block after the other, so none waits for another.

#include <utility>

#include <moegrad/cuda/support/device_language.cuh>

namespace moegrad::cuda {

inline constexpr bool kClusters = false, kClusterCode = false;

template <int Blocks>
int block_of_cluster() {
    return 0;
}

template <int Blocks>
void cluster_barrier(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    __syncthreads(file, line);
}

template <int Blocks, class T>
T* in_block(T* mine, int) {
    return mine;
}

template <int Blocks, class... Parameters, class... Arguments>
void launch_cluster(const char* place, void (*kernel)(Parameters...), int threads, std::size_t shared_bytes,
                    cudaStream_t stream, Arguments&&... arguments) {
    static_assert(Blocks == 1);
    launch(place, kernel, dim3(1), dim3(static_cast<unsigned>(threads)), shared_bytes, stream,
           std::forward<Arguments>(arguments)...);
}

}  // namespace moegrad::cuda
