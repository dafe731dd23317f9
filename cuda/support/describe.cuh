#pragma once
// What `moegrad doctor` says of the GPU. Never throws: a machine without a GPU is a finding too.

#include <string>
#include <vector>

#include <moegrad/core/format.hpp>
#include <moegrad/cuda/support/check.cuh>

namespace moegrad::cuda {
namespace detail {

inline std::string version(int number) {
    return number == 0 ? std::string("none") : format("{}.{}", number / 1000, number % 1000 / 10);
}

inline std::string gibibytes(std::size_t bytes) {
    return format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
}

/// "compiled for 90a": of the kernels that run here.
inline std::string code_text() {
    const DeviceLimits limits = device_limits();
    if (limits.hopper) return "compiled for 90a";
    const std::string code = format("compiled for {}", limits.code);
    if (limits.compute != 90) return code + ": the plain paths";
    return code + " without wgmma: the plain paths; MOEGRAD_CUDA_ARCHITECTURES=90a-real has Hopper's";
}

}  // namespace detail

/// "name: text" a line.
inline std::vector<std::string> describe() {
    int driver = 0, devices = 0;
    cudaDriverGetVersion(&driver);
    std::vector<std::string> lines{
        format("toolkit: {}, driver for CUDA {}", detail::version(CUDART_VERSION), detail::version(driver))};
    const cudaError_t found = cudaGetDeviceCount(&devices);
    cudaGetLastError();
    if (found != cudaSuccess || devices == 0) {
        lines.push_back(
            format("GPU: none ({})", found != cudaSuccess ? cudaGetErrorString(found) : "no device"));
        return lines;
    }
    try {
        int device = 0;
        std::size_t free = 0, total = 0;
        cudaDeviceProp properties{};
        check(cudaGetDevice(&device), "doctor");
        check(cudaGetDeviceProperties(&properties, device), "doctor");
        check(cudaMemGetInfo(&free, &total), "doctor");
        lines.push_back(format("GPU: {}, compute capability {}.{}, {} multiprocessors", properties.name,
                               properties.major, properties.minor, properties.multiProcessorCount));
        lines.push_back(format("memory: {} of {} free", detail::gibibytes(free), detail::gibibytes(total)));
        lines.push_back("kernels: " + detail::code_text());
        if (devices > 1)
            lines.push_back(format("others: {} more GPUs; moegrad uses the first it sees", devices - 1));
    } catch (const Error& error) {
        lines.push_back(format("GPU: of no use: {}", error.got));
    }
    return lines;
}

}  // namespace moegrad::cuda
