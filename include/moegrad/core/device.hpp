#pragma once
// Devices and number types as values, for kernel slots, messages and files.

#include <complex>
#include <string>
#include <type_traits>

#include <moegrad/core/bf16.hpp>

namespace moegrad {

/// dry plans: its step memory is address space that nobody touches, its kernels do nothing. A step on it takes the
/// memory it would take elsewhere, and no time.
enum class Device { cpu, cuda, dry };
inline constexpr int kDevices = 3;

/// complex128 exists for complex-step gradient checks only.
enum class Number { float32, float64, bfloat16, complex128 };
inline constexpr int kNumbers = 4;

inline const char* name(Device device) {
    return device == Device::cpu ? "cpu" : device == Device::cuda ? "cuda" : "dry";
}

inline const char* name(Number number) {
    switch (number) {
        case Number::float32: return "float32";
        case Number::float64: return "float64";
        case Number::bfloat16: return "bfloat16";
        case Number::complex128: return "complex128";
    }
    return "unknown";
}

template <class Real>
constexpr Number number_of() {
    if constexpr (std::is_same_v<Real, float>) {
        return Number::float32;
    } else if constexpr (std::is_same_v<Real, double>) {
        return Number::float64;
    } else if constexpr (std::is_same_v<Real, bf16>) {
        return Number::bfloat16;
    } else {
        static_assert(std::is_same_v<Real, std::complex<double>>, "a number type moegrad does not know");
        return Number::complex128;
    }
}

}  // namespace moegrad
