#pragma once
// Blocks of one kernel that work together: a cluster of Hopper's, whose blocks read and write each other's shared memory.
// Blocks = 1 is any block on any card. The emulator of the tests puts a file of this name in the place of this one that says
// kClusters = false.

#include <utility>

#include <moegrad/cuda/support/device_language.cuh>
#include <moegrad/cuda/support/hopper.cuh>

namespace moegrad::cuda {

inline constexpr bool kClusters = true;
inline constexpr bool kClusterCode = MOEGRAD_SM90A;  // on the device: what it is compiled for

template <int Blocks>
__device__ __forceinline__ int block_of_cluster() {
#if MOEGRAD_SM90A
    if constexpr (Blocks > 1) return hopper::cluster_rank();
#endif
    return 0;
}

/// All threads of all blocks. What they wrote before, to shared memory of whichever block or to global memory, they all read
/// behind it.
template <int Blocks>
__device__ __forceinline__ void cluster_barrier() {
#if MOEGRAD_SM90A
    if constexpr (Blocks > 1) {
        __syncwarp();  // the barrier asks for whole warps, and loops of different lengths may lie before it
        return hopper::cluster_sync();
    }
#endif
    __syncthreads();
}

/// What lies in shared memory of block `rank` where `mine` lies in this block's.
template <int Blocks, class T>
__device__ __forceinline__ T* in_block(T* mine, int rank) {
#if MOEGRAD_SM90A
    if constexpr (Blocks > 1) return hopper::in_block(mine, rank);
#endif
    return mine;
}

/// launch() of one cluster of `Blocks` blocks.
template <int Blocks, class... Parameters, class... Arguments>
void launch_cluster(const char* place, void (*kernel)(Parameters...), int threads, std::size_t shared_bytes,
                    cudaStream_t stream, Arguments&&... arguments) {
    allow_shared_memory(kernel, static_cast<int>(shared_bytes), place);
    cudaLaunchAttribute together{};
    together.id = cudaLaunchAttributeClusterDimension;
    together.val.clusterDim = {Blocks, 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = Blocks;
    config.blockDim = static_cast<unsigned>(threads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &together;
    config.numAttrs = Blocks > 1 ? 1 : 0;
    check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(std::forward<Arguments>(arguments))...),
          place);
}

}  // namespace moegrad::cuda
