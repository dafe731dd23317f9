#pragma once
// What a kernel header of moegrad uses of the CUDA language and runtime, as plain C++20 for the CPU. Stands before the
// toolkit's file of this name in the include path of the emulated kernels. Not here on purpose: atomics on floating
// point, cooperative groups, masks other than all lanes.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "emulator.hpp"

#define __device__
#define __host__
#define __global__
#define __constant__ static
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__

// --- types ----------------------------------------------------------------------------------------------------------

#define MOEGRAD_EMULATED_VECTORS(name, type, alignment2, alignment4) \
    struct alignas(alignment2) name##2 {                             \
        type x, y;                                                   \
    };                                                               \
    struct name##3 {                                                 \
        type x, y, z;                                                \
    };                                                               \
    struct alignas(alignment4) name##4 {                             \
        type x, y, z, w;                                             \
    };                                                               \
    inline name##2 make_##name##2(type x, type y) {                  \
        return {x, y};                                               \
    }                                                                \
    inline name##3 make_##name##3(type x, type y, type z) {          \
        return {x, y, z};                                            \
    }                                                                \
    inline name##4 make_##name##4(type x, type y, type z, type w) {  \
        return {x, y, z, w};                                         \
    }

MOEGRAD_EMULATED_VECTORS(float, float, 8, 16)
MOEGRAD_EMULATED_VECTORS(int, int, 8, 16)
MOEGRAD_EMULATED_VECTORS(uint, unsigned, 8, 16)
MOEGRAD_EMULATED_VECTORS(double, double, 16, 16)
MOEGRAD_EMULATED_VECTORS(short, short, 4, 8)
MOEGRAD_EMULATED_VECTORS(ushort, unsigned short, 4, 8)
MOEGRAD_EMULATED_VECTORS(longlong, long long, 16, 16)
MOEGRAD_EMULATED_VECTORS(ulonglong, unsigned long long, 16, 16)
#undef MOEGRAD_EMULATED_VECTORS

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// One block at a time, so one of each; the emulator sets threadIdx where it goes on with a thread.
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

// --- numbers --------------------------------------------------------------------------------------------------------

#define MOEGRAD_EMULATED_MIN_MAX(type)   \
    constexpr type min(type a, type b) { \
        return b < a ? b : a;            \
    }                                    \
    constexpr type max(type a, type b) { \
        return a < b ? b : a;            \
    }
MOEGRAD_EMULATED_MIN_MAX(int)
MOEGRAD_EMULATED_MIN_MAX(unsigned)
MOEGRAD_EMULATED_MIN_MAX(long)
MOEGRAD_EMULATED_MIN_MAX(unsigned long)
MOEGRAD_EMULATED_MIN_MAX(long long)
MOEGRAD_EMULATED_MIN_MAX(unsigned long long)
#undef MOEGRAD_EMULATED_MIN_MAX
inline float min(float a, float b) {
    return fminf(a, b);
}
inline float max(float a, float b) {
    return fmaxf(a, b);
}
inline double min(double a, double b) {
    return fmin(a, b);
}
inline double max(double a, double b) {
    return fmax(a, b);
}

inline float rsqrtf(float x) {
    return 1 / sqrtf(x);
}
inline double rsqrt(double x) {
    return 1 / sqrt(x);
}
inline float __fdividef(float a, float b) {
    return a / b;
}
inline float __saturatef(float x) {
    return fminf(fmaxf(x, 0), 1);
}
// libm has names of its own like these.
#define __expf(x) expf(x)
#define __exp2f(x) exp2f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
inline float __fadd_rn(float a, float b) {
    return a + b;
}
inline float __fsub_rn(float a, float b) {
    return a - b;
}
inline float __fmul_rn(float a, float b) {
    return a * b;
}
inline float __fdiv_rn(float a, float b) {
    return a / b;
}
inline float __fsqrt_rn(float x) {
    return sqrtf(x);
}
inline float __frcp_rn(float x) {
    return 1 / x;
}
inline float __fmaf_rn(float a, float b, float c) {
    return fmaf(a, b, c);
}
inline double __dadd_rn(double a, double b) {
    return a + b;
}
inline double __dsub_rn(double a, double b) {
    return a - b;
}
inline double __dmul_rn(double a, double b) {
    return a * b;
}
inline double __ddiv_rn(double a, double b) {
    return a / b;
}
inline double __dsqrt_rn(double x) {
    return sqrt(x);
}
inline double __fma_rn(double a, double b, double c) {
    return fma(a, b, c);
}
inline int __float2int_rn(float x) {
    return static_cast<int>(nearbyintf(x));
}
inline int __float2int_rz(float x) {
    return static_cast<int>(x);
}
inline long long __double2ll_rn(double x) {
    return static_cast<long long>(nearbyint(x));
}
inline float __int2float_rn(int x) {
    return static_cast<float>(x);
}
inline float __uint2float_rn(unsigned x) {
    return static_cast<float>(x);
}

inline unsigned __float_as_uint(float x) {
    return std::bit_cast<unsigned>(x);
}
inline int __float_as_int(float x) {
    return std::bit_cast<int>(x);
}
inline float __uint_as_float(unsigned x) {
    return std::bit_cast<float>(x);
}
inline float __int_as_float(int x) {
    return std::bit_cast<float>(x);
}
inline long long __double_as_longlong(double x) {
    return std::bit_cast<long long>(x);
}
inline double __longlong_as_double(long long x) {
    return std::bit_cast<double>(x);
}

inline int __popc(unsigned x) {
    return std::popcount(x);
}
inline int __popcll(unsigned long long x) {
    return std::popcount(x);
}
inline int __ffs(int x) {
    return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1;
}
inline int __ffsll(long long x) {
    return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1;
}
inline int __clz(int x) {
    return std::countl_zero(static_cast<unsigned>(x));
}
inline int __clzll(long long x) {
    return std::countl_zero(static_cast<unsigned long long>(x));
}
inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; ++i) y |= (x >> i & 1u) << (31 - i);
    return y;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>((static_cast<std::uint64_t>(a) * b) >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<unsigned long long>((static_cast<Wide>(a) * b) >> 64);
}

// --- memory ---------------------------------------------------------------------------------------------------------

template <class T>
T __ldg(const T* from) {
    return *from;
}
template <class T>
T __ldcs(const T* from) {
    return *from;
}
template <class T>
T __ldcg(const T* from) {
    return *from;
}
template <class T>
void __stcs(T* to, T value) {
    *to = value;
}
template <class T>
void __stcg(T* to, T value) {
    *to = value;
}
inline void __threadfence() {}
inline void __threadfence_block() {}
[[noreturn]] inline void __trap() {
    std::abort();
}

#define MOEGRAD_EMULATED_ATOMICS(type)                 \
    inline type atomicAdd(type* at, type x) {          \
        const type old = *at;                          \
        *at += x;                                      \
        return old;                                    \
    }                                                  \
    inline type atomicMax(type* at, type x) {          \
        const type old = *at;                          \
        *at = old < x ? x : old;                       \
        return old;                                    \
    }                                                  \
    inline type atomicMin(type* at, type x) {          \
        const type old = *at;                          \
        *at = x < old ? x : old;                       \
        return old;                                    \
    }                                                  \
    inline type atomicOr(type* at, type x) {           \
        const type old = *at;                          \
        *at |= x;                                      \
        return old;                                    \
    }                                                  \
    inline type atomicAnd(type* at, type x) {          \
        const type old = *at;                          \
        *at &= x;                                      \
        return old;                                    \
    }                                                  \
    inline type atomicExch(type* at, type x) {         \
        const type old = *at;                          \
        *at = x;                                       \
        return old;                                    \
    }                                                  \
    inline type atomicCAS(type* at, type is, type x) { \
        const type old = *at;                          \
        if (old == is) *at = x;                        \
        return old;                                    \
    }
MOEGRAD_EMULATED_ATOMICS(int)
MOEGRAD_EMULATED_ATOMICS(unsigned)
MOEGRAD_EMULATED_ATOMICS(unsigned long long)
#undef MOEGRAD_EMULATED_ATOMICS

#include "cuda_calls.hpp"
#include "cuda_events.hpp"
#include "cuda_threads.hpp"
