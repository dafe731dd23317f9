#pragma once
// In the place of cuda/support/device_language.cuh: the same for the emulator, which runs a kernel when it is launched.

#include <cuda_runtime.h>

#include <tuple>
#include <utility>

#include <moegrad/cuda/support/check.cuh>

namespace moegrad::cuda {

/// Filled with 0xFF before each block.
template <class T>
T* dynamic_shared() {
    return reinterpret_cast<T*>(emulated::shared_memory());
}

template <class... Parameters, class... Arguments>
void launch(const char* place, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t, Arguments&&... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (!emulated::accepts(grid, block, shared_bytes))
        launched(emulated::failed(cudaErrorInvalidConfiguration), place, grid, block, shared_bytes);
    if (shared_bytes > 48 * 1024) allow_shared_memory(kernel, static_cast<int>(shared_bytes), place);
    struct Call {
        void (*kernel)(Parameters...);
        std::tuple<Parameters...> parameters;
    };
    const Call call{kernel, {static_cast<Parameters>(arguments)...}};
    emulated::run(
        place, grid, block, shared_bytes,
        [](const void* from) {
            const Call& c = *static_cast<const Call*>(from);
            std::apply(c.kernel, c.parameters);
        },
        &call);
    ++emulated::operations;
    launched(cudaGetLastError(), place, grid, block, shared_bytes);
}

struct EarlierKernels {
    void wait() const {}
};

template <class... Parameters, class... Arguments>
void launch_early(const char* place, void (*kernel)(EarlierKernels, Parameters...), dim3 grid, dim3 block,
                  std::size_t shared_bytes, cudaStream_t stream, Arguments&&... arguments) {
    launch(place, kernel, grid, block, shared_bytes, stream, EarlierKernels{},
           std::forward<Arguments>(arguments)...);
}

}  // namespace moegrad::cuda
