#pragma once
// The runtime calls that moegrad makes: all is done when a call returns. No graphs.
// As on a GPU, a failure stays the last error until somebody takes it.

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "emulator.hpp"

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNoDevice = 100,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorNotReady = 600,
    cudaErrorNotSupported = 801,
};
using cudaError = cudaError_t;

inline const char* cudaGetErrorName(cudaError_t status) {
    switch (status) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
        case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
        case cudaErrorNotReady: return "cudaErrorNotReady";
        case cudaErrorNotSupported: return "cudaErrorNotSupported";
        default: return "cudaErrorUnknown";
    }
}
inline const char* cudaGetErrorString(cudaError_t status) {
    return status == cudaErrorNotSupported ? "not supported by the emulator" : cudaGetErrorName(status);
}
namespace moegrad::emulated {

inline thread_local cudaError_t last_error = cudaSuccess;
inline std::atomic<long> operations{0};  // launches and copies so far

/// `status`, which cudaGetLastError tells too.
inline cudaError_t failed(cudaError_t status) {
    return last_error = status;
}

}  // namespace moegrad::emulated

inline cudaError_t cudaGetLastError() {
    return std::exchange(moegrad::emulated::last_error, cudaSuccess);
}
inline cudaError_t cudaPeekAtLastError() {
    return moegrad::emulated::last_error;
}

// --- device ---------------------------------------------------------------------------------------------------------

enum cudaDeviceAttr {
    cudaDevAttrMaxThreadsPerBlock = 1,
    cudaDevAttrMaxSharedMemoryPerBlock = 8,
    cudaDevAttrClockRate = 13,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrMemoryClockRate = 36,
    cudaDevAttrGlobalMemoryBusWidth = 37,
    cudaDevAttrL2CacheSize = 38,
    cudaDevAttrMaxThreadsPerMultiProcessor = 39,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    switch (attribute) {
        case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
        case cudaDevAttrMultiProcessorCount: *value = 3; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *value = 2048; break;
        case cudaDevAttrComputeCapabilityMajor: *value = 8; break;
        case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = 49152; break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = 167936; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = 166912; break;
        case cudaDevAttrL2CacheSize: *value = 1 << 20; break;
        default: *value = 1;
    }
    return cudaSuccess;
}

struct cudaDeviceProp {
    char name[256];
    std::size_t totalGlobalMem, sharedMemPerBlockOptin;
    int major, minor, multiProcessorCount, l2CacheSize, memoryBusWidth, ECCEnabled;
};
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    *properties = {"emulated on the CPU", moegrad::emulated::bytes_in_all(), 166912, 8, 0, 3, 1 << 20, 64, 0};
    return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int) {
    return cudaSuccess;
}
inline cudaError_t cudaDeviceReset() {
    return cudaSuccess;
}
inline cudaError_t cudaDeviceSynchronize() {
    return cudaSuccess;
}
inline cudaError_t cudaDriverGetVersion(int* version) {
    *version = 0;
    return cudaSuccess;
}
inline cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = 0;
    return cudaSuccess;
}
#define CUDART_VERSION 0

// --- functions ------------------------------------------------------------------------------------------------------

struct cudaFuncAttributes {
    int binaryVersion, ptxVersion, numRegs, maxThreadsPerBlock, maxDynamicSharedSizeBytes;
    std::size_t sharedSizeBytes, localSizeBytes;
};
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9,
};
template <class Function>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Function) {
    *attributes = {80, 80, 32, 1024, 166912, 0, 0};
    return cudaSuccess;
}
template <class Function>
cudaError_t cudaFuncSetAttribute(Function, cudaFuncAttribute attribute, int value) {
    const bool fits = attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value <= 166912;
    return fits ? cudaSuccess : cudaErrorInvalidValue;
}
template <class Function>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function, int, std::size_t) {
    *blocks = 2;
    return cudaSuccess;
}

// --- memory ---------------------------------------------------------------------------------------------------------

using cudaStream_t = struct MoegradEmulatedStream*;
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum : unsigned { cudaHostAllocDefault = 0, cudaHostAllocPortable = 1, cudaHostAllocMapped = 2 };

template <class T>
cudaError_t cudaMalloc(T** place, std::size_t bytes) {
    *place = static_cast<T*>(moegrad::emulated::allocate(bytes));
    return *place != nullptr ? cudaSuccess : moegrad::emulated::failed(cudaErrorMemoryAllocation);
}
inline cudaError_t cudaFree(void* place) {
    return moegrad::emulated::release(place) ? cudaSuccess : cudaErrorInvalidValue;
}
template <class T>
cudaError_t cudaHostAlloc(T** place, std::size_t bytes, unsigned) {
    *place = static_cast<T*>(std::malloc(bytes));
    return *place != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
template <class T>
cudaError_t cudaMallocHost(T** place, std::size_t bytes) {
    return cudaHostAlloc(place, bytes, 0);
}
inline cudaError_t cudaFreeHost(void* place) {
    std::free(place);
    return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    *free = moegrad::emulated::bytes_free();
    *total = moegrad::emulated::bytes_in_all();
    return cudaSuccess;
}
/// The direction must be the true one.
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) return cudaSuccess;
    const bool up = kind == cudaMemcpyHostToDevice, down = kind == cudaMemcpyDeviceToHost;
    const bool any = kind == cudaMemcpyDefault, inside = kind == cudaMemcpyDeviceToDevice;
    if (!any && moegrad::emulated::is_device(to) != (up || inside)) return cudaErrorInvalidValue;
    if (!any && moegrad::emulated::is_device(from) != (down || inside)) return cudaErrorInvalidValue;
    ++moegrad::emulated::operations;
    const moegrad::emulated::Unlocked unlocked;
    std::memmove(to, from, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                                   cudaStream_t = {}) {
    return cudaMemcpy(to, from, bytes, kind);
}
inline cudaError_t cudaMemset(void* place, int value, std::size_t bytes) {
    if (bytes == 0) return cudaSuccess;
    if (!moegrad::emulated::is_device(place)) return cudaErrorInvalidValue;
    const moegrad::emulated::Unlocked unlocked;
    std::memset(place, value, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* place, int value, std::size_t bytes, cudaStream_t = {}) {
    return cudaMemset(place, value, bytes);
}
inline cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                                     std::size_t width, std::size_t height, cudaMemcpyKind kind,
                                     cudaStream_t = {}) {
    for (std::size_t row = 0; row < height; ++row) {
        const cudaError_t status = cudaMemcpy(static_cast<char*>(to) + row * to_pitch,
                                              static_cast<const char*>(from) + row * from_pitch, width, kind);
        if (status != cudaSuccess) return status;
    }
    return cudaSuccess;
}
