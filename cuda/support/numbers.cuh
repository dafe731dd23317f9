#pragma once
// Numbers of a kernel: computed in float, stored as float or bf16. Pack<T>: 16 bytes of them, for kernels that memory
// limits. `aligned` says whether a matrix may be read so; where not, kernels go one by one.

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include <moegrad/core/bf16.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad::cuda {

__device__ __forceinline__ float wide(float x) {
    return x;
}
__device__ __forceinline__ float wide(bf16 x) {
    return static_cast<float>(x);
}

/// Two bf16 in a word, `low` in the lower half; to nearest, ties to even.
__device__ __forceinline__ std::uint32_t pack_bf16(float low, float high) {
#if defined(__CUDA_ARCH__)
    std::uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
#else
    return bf16(low).bits | static_cast<std::uint32_t>(bf16(high).bits) << 16;
#endif
}

template <class T>
__device__ __forceinline__ T narrow(float x);
template <>
__device__ __forceinline__ float narrow<float>(float x) {
    return x;
}
template <>
__device__ __forceinline__ bf16 narrow<bf16>(float x) {
    return bf16::from_bits(static_cast<std::uint16_t>(pack_bf16(x, x)));
}

/// place = x, or place += x.
template <class T>
__device__ __forceinline__ void put(T& place, float x, Write write) {
    place = narrow<T>(write == Write::overwrite ? x : wide(place) + x);
}

/// 16 bytes, four floats or eight bf16; 8 bytes with two Words.
template <class T, int Words = 4>
struct Pack {
    static constexpr int kSize = 4 * Words / static_cast<int>(sizeof(T));
    using Raw = std::conditional_t<Words == 4, uint4, uint2>;
    float value[kSize];

    __device__ __forceinline__ static Pack load(const T* from) {
        Pack pack;
        alignas(Raw) std::uint32_t all[Words];
        *reinterpret_cast<Raw*>(all) = *reinterpret_cast<const Raw*>(from);
#pragma unroll
        for (int i = 0; i < Words; ++i) {
            if constexpr (sizeof(T) == 4) {
                pack.value[i] = __builtin_bit_cast(float, all[i]);
            } else {
                pack.value[2 * i] = __builtin_bit_cast(float, all[i] << 16);
                pack.value[2 * i + 1] = __builtin_bit_cast(float, all[i] & 0xffff0000u);
            }
        }
        return pack;
    }
    __device__ __forceinline__ void store(T* to) const {
        alignas(Raw) std::uint32_t all[Words];
#pragma unroll
        for (int i = 0; i < Words; ++i) {
            if constexpr (sizeof(T) == 4) {
                all[i] = __builtin_bit_cast(std::uint32_t, value[i]);
            } else {
                all[i] = pack_bf16(value[2 * i], value[2 * i + 1]);
            }
        }
        *reinterpret_cast<Raw*>(to) = *reinterpret_cast<const Raw*>(all);
    }
    __device__ __forceinline__ void put(T* to, Write write) const {
        if (write == Write::overwrite) return store(to);
        Pack sum = load(to);
#pragma unroll
        for (int i = 0; i < kSize; ++i) sum.value[i] += value[i];
        sum.store(to);
    }
};

/// Whether every row begins at a multiple of 16 bytes and ends there.
template <class T, int Rank>
bool aligned(const View<T, Rank>& view) {
    constexpr Index n = 16 / static_cast<Index>(sizeof(T));
    return reinterpret_cast<std::uintptr_t>(view.data) % 16 == 0 && view.pitch % n == 0 &&
           view.columns() % n == 0;
}

}  // namespace moegrad::cuda
