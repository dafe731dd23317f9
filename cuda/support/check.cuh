#pragma once
// Checked calls of the CUDA runtime, and what launch configurations need to know of the device. Every call goes through
// check(), every launch through launched(); calls that only give something back have nobody to tell.

#include <cuda_runtime.h>

#include <string>

#include <moegrad/core/error.hpp>

namespace moegrad::cuda {

[[noreturn]] inline void fail(cudaError_t status, const char* place, const std::string& wanted) {
    cudaGetLastError();  // forget it: the next launch must not report this one
    const char* hint =
        "run with CUDA_LAUNCH_BLOCKING=1 to see the kernel it comes from; moegrad doctor shows device and "
        "driver";
    if (status == cudaErrorNoKernelImageForDevice)
        hint =
            "built for other cards (90a alone, unless told otherwise); configure with "
            "-DMOEGRAD_CUDA_ARCHITECTURES='90a-real;80-virtual'";
    throw Error{ErrorCode::state, place, wanted,
                format("{} ({})", cudaGetErrorString(status), cudaGetErrorName(status)), hint};
}

/// `place` names the op and what it was doing.
inline void check(cudaError_t status, const char* place) {
    if (status != cudaSuccess) fail(status, place, "success of a CUDA call");
}

/// Of a launch, whose shape is that of the op's rows and columns.
inline void launched(cudaError_t status, const char* place, dim3 grid, dim3 block, std::size_t shared_bytes) {
    if (status == cudaSuccess) return;
    fail(status, place,
         format("a launch of {} x {} x {} blocks of {} threads, {} bytes of shared memory", grid.x, grid.y,
                grid.z, block.x * block.y * block.z, shared_bytes));
}

struct DeviceLimits {
    int device = -1;
    int multiprocessors = 0;
    int compute = 0;      // 10 major + minor
    int code = 0;         // what the kernels were compiled for, as `compute`; it does not tell 90a from 90
    bool hopper = false;  // whether Hopper's kernels run here; compiled for anything but 90a they are empty
};

inline constexpr int kProbeOfHopper = 256;

namespace {
/// The bound says what it was compiled for: nothing else of a kernel tells 90a from 90.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
__global__ void __launch_bounds__(kProbeOfHopper) code_probe() {}
#else
__global__ void __launch_bounds__(2 * kProbeOfHopper) code_probe() {}
#endif

/// Of the current device; read once.
inline const DeviceLimits& device_limits() {
    static thread_local DeviceLimits limits;
    int device = 0;
    check(cudaGetDevice(&device), "device limits");
    if (limits.device == device) return limits;
    int major = 0, minor = 0;
    check(cudaDeviceGetAttribute(&limits.multiprocessors, cudaDevAttrMultiProcessorCount, device),
          "device limits");
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "device limits");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "device limits");
    limits.compute = 10 * major + minor;
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, code_probe), "device limits");
    limits.code = attributes.ptxVersion;
    limits.hopper = limits.compute == 90 && attributes.maxThreadsPerBlock == kProbeOfHopper;
    limits.device = device;
    return limits;
}
}  // namespace

template <class Kernel>
void allow_shared_memory(Kernel kernel, int bytes, const char* place) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), place);
}

}  // namespace moegrad::cuda
