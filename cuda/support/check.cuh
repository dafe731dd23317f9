#pragma once
// Checked calls of the CUDA runtime, and what launch configurations need to know of the device. Every call goes through
// check(), every launch is followed by launched().

#include <cuda_runtime.h>

#include <moegrad/core/error.hpp>

namespace moegrad::cuda {

/// `place` names the op and what it was doing.
inline void check(cudaError_t status, const char* place) {
    if (status == cudaSuccess) return;
    throw Error{ErrorCode::state, place, "success of a CUDA call",
                format("{} ({})", cudaGetErrorString(status), cudaGetErrorName(status)),
                "run with CUDA_LAUNCH_BLOCKING=1 to see the kernel it comes from; moegrad doctor shows device and driver"};
}

inline void launched(const char* place) {
    check(cudaGetLastError(), place);
}

struct DeviceLimits {
    int device = -1;
    int multiprocessors = 0;
    int compute = 0;  // 10 major + minor
    int code = 0;     // what this program's kernels were compiled for: less than `compute` when the driver made them from
                      // PTX, and then Hopper's kernels are empty
};

namespace {
__global__ void code_probe() {}

/// Of the current device; read once.
inline const DeviceLimits& device_limits() {
    static thread_local DeviceLimits limits;
    int device = 0;
    check(cudaGetDevice(&device), "device limits");
    if (limits.device == device) return limits;
    int major = 0, minor = 0;
    check(cudaDeviceGetAttribute(&limits.multiprocessors, cudaDevAttrMultiProcessorCount, device), "device limits");
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "device limits");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "device limits");
    limits.compute = 10 * major + minor;
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, code_probe), "device limits");
    limits.code = attributes.ptxVersion;
    limits.device = device;
    return limits;
}
}  // namespace

template <class Kernel>
void allow_shared_memory(Kernel kernel, int bytes, const char* place) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), place);
}

}  // namespace moegrad::cuda
