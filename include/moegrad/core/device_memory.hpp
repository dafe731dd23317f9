#pragma once
// DeviceMemory: what a device other than the host gives to core: blocks, copies, waiting. core never mentions CUDA;
// moegrad::cuda puts its functions here when the program starts. One GPU per process, and one stream on it: work and
// copies run in the order they were asked for.

#include <cstddef>
#include <string>
#include <vector>

#include <moegrad/core/device.hpp>
#include <moegrad/core/error.hpp>

namespace moegrad {

/// upload: from host to device, after which `from` may go; download: to the host, which waits for it.
enum class Copy { upload, download, inside };

struct DeviceMemory {
    /// Not initialised. Throws ErrorCode::memory with what was asked and what is free.
    void* (*allocate)(std::size_t bytes, const char* place) = nullptr;
    void (*release)(void* place) = nullptr;
    void (*fill)(void* place, unsigned char value, std::size_t bytes) = nullptr;
    void (*copy)(void* to, const void* from, std::size_t bytes, Copy kind) = nullptr;
    void (*wait)() = nullptr;
    /// For `doctor`, "name: text" a line; also where there is no GPU.
    std::vector<std::string> (*describe)() = nullptr;
    /// Whether Hopper's kernels run there. True where there is no GPU: what is planned is planned for one.
    bool (*hopper)() = nullptr;
};

/// Of Device::cuda; empty until moegrad::cuda is linked.
inline DeviceMemory& cuda_memory() {
    static DeviceMemory memory;
    return memory;
}

inline bool has_cuda() {
    return cuda_memory().allocate != nullptr;
}

/// Of the GPU that a run takes or a plan is made for: what an op may choose its path by.
inline bool targets_hopper() {
    return cuda_memory().hopper == nullptr || cuda_memory().hopper();
}

inline void require_cuda(const char* place) {
    if (has_cuda()) return;
    throw Error{ErrorCode::unsupported, place, "a program built with CUDA kernels", "one without",
                "install the CUDA Toolkit 12.4 or later and build again; moegrad doctor says what was found"};
}

}  // namespace moegrad
