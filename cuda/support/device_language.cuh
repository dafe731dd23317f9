#pragma once
// The words of the CUDA language that a plain C++ compiler has not: how a kernel is launched and where its dynamic shared
// memory lies. Kernels use these and never <<< >>> or `extern __shared__`, so that the emulator of the tests
// (tests/cuda_emulated) can put a file of the same name in the place of this one and run them on the CPU.
// Static shared arrays are plain `__shared__` declarations. No two blocks of a kernel may wait for each other
// (but those of a cluster: cluster.cuh, which the emulator replaces too).

#include <cuda_runtime.h>

#include <utility>

#include <moegrad/cuda/support/check.cuh>

namespace moegrad::cuda {

/// The dynamic shared memory of this block, 128-byte aligned.
template <class T>
__device__ inline T* dynamic_shared() {
    extern __shared__ __align__(128) unsigned char moegrad_dynamic_shared[];
    return reinterpret_cast<T*>(moegrad_dynamic_shared);
}

/// Runs kernel(arguments...) on `grid` blocks of `block` threads. A grid without blocks does nothing.
template <class... Parameters, class... Arguments>
void launch(const char* place, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t stream, Arguments&&... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (shared_bytes > 48 * 1024) allow_shared_memory(kernel, static_cast<int>(shared_bytes), place);
    kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
    launched(cudaGetLastError(), place, grid, block, shared_bytes);
}

/// The first parameter of a kernel that launch_early starts: its blocks may lie on the card before the kernels ahead of it in the
/// stream have ended. Above wait() such a kernel reads nothing and writes nothing; every one of its threads calls it.
struct EarlierKernels {
    __device__ __forceinline__ void wait() const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
        cudaTriggerProgrammaticLaunchCompletion();  // the next one may come as soon as all blocks of this one have
        cudaGridDependencySynchronize();            // ended, and what they wrote is seen
#endif
    }
};

/// launch(), on Hopper while the kernel ahead still runs: for kernels so short that starting them takes much of their time.
template <class... Parameters, class... Arguments>
void launch_early(const char* place, void (*kernel)(EarlierKernels, Parameters...), dim3 grid, dim3 block,
                  std::size_t shared_bytes, cudaStream_t stream, Arguments&&... arguments) {
    if (!device_limits().hopper) {
        return launch(place, kernel, grid, block, shared_bytes, stream, EarlierKernels{},
                      std::forward<Arguments>(arguments)...);
    }
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (shared_bytes > 48 * 1024) allow_shared_memory(kernel, static_cast<int>(shared_bytes), place);
    cudaLaunchAttribute early{};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &early;
    config.numAttrs = 1;
    launched(cudaLaunchKernelEx(&config, kernel, EarlierKernels{}, static_cast<Parameters>(arguments)...),
             place, grid, block, shared_bytes);
}

}  // namespace moegrad::cuda
