#pragma once
// Where the threads of a block meet: barriers, votes and shuffles.

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "emulator.hpp"

namespace moegrad::emulated {

/// What lane from(self, first lane of the group) brought; one's own where that lane is not there.
template <class T, class From>
T shuffle(unsigned mask, T mine, int width, const Site& site, const From& from) {
    static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "what a shuffle of the GPU takes");
    std::uint64_t bits = 0;
    std::memcpy(&bits, &mine, sizeof(T));
    unsigned present = 0;
    const int self = static_cast<int>(lane());
    const std::uint64_t* all = exchange(mask, bits, present, site);
    const int begin = self / width * width, source = from(self, begin);
    if (source < begin || source >= begin + width || (present >> source & 1u) == 0) return mine;
    T result;
    std::memcpy(&result, &all[source], sizeof(T));
    return result;
}

inline unsigned ballot(unsigned mask, bool predicate, const Site& site) {
    unsigned present = 0, votes = 0;
    const std::uint64_t* all = exchange(mask, predicate ? 1 : 0, present, site);
    for (unsigned i = 0; i < 32; ++i) votes |= (present >> i & 1u) != 0 && all[i] != 0 ? 1u << i : 0u;
    return votes;
}

}  // namespace moegrad::emulated

// Whoever calls these is the place that errors name.
#define MOEGRAD_EMULATED_WHERE const char *file = __builtin_FILE(), unsigned line = __builtin_LINE()

inline void __syncthreads(MOEGRAD_EMULATED_WHERE) {
    moegrad::emulated::wait_for_block({"__syncthreads", file, line});
}
inline int __syncthreads_count(int predicate, MOEGRAD_EMULATED_WHERE) {
    return moegrad::emulated::count_in_block(predicate != 0, {"__syncthreads_count", file, line});
}
inline int __syncthreads_or(int predicate, MOEGRAD_EMULATED_WHERE) {
    return moegrad::emulated::count_in_block(predicate != 0, {"__syncthreads_or", file, line}) > 0;
}
inline int __syncthreads_and(int predicate, MOEGRAD_EMULATED_WHERE) {
    return moegrad::emulated::count_in_block(predicate == 0, {"__syncthreads_and", file, line}) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, MOEGRAD_EMULATED_WHERE) {
    unsigned present = 0;
    moegrad::emulated::exchange(mask, 0, present, {"__syncwarp", file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, MOEGRAD_EMULATED_WHERE) {
    return moegrad::emulated::ballot(mask, predicate != 0, {"__ballot_sync", file, line});
}
inline int __any_sync(unsigned mask, int predicate, MOEGRAD_EMULATED_WHERE) {
    return moegrad::emulated::ballot(mask, predicate != 0, {"__any_sync", file, line}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, MOEGRAD_EMULATED_WHERE) {
    return moegrad::emulated::ballot(mask, predicate == 0, {"__all_sync", file, line}) == 0;
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, MOEGRAD_EMULATED_WHERE) {
    return moegrad::emulated::shuffle(mask, value, width, {"__shfl_sync", file, line},
                                      [=](int, int begin) { return begin + (lane & (width - 1)); });
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, MOEGRAD_EMULATED_WHERE) {
    return moegrad::emulated::shuffle(mask, value, width, {"__shfl_xor_sync", file, line},
                                      [=](int self, int) { return self ^ lanes; });
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = 32, MOEGRAD_EMULATED_WHERE) {
    return moegrad::emulated::shuffle(mask, value, width, {"__shfl_up_sync", file, line},
                                      [=](int self, int) { return self - static_cast<int>(lanes); });
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = 32, MOEGRAD_EMULATED_WHERE) {
    return moegrad::emulated::shuffle(mask, value, width, {"__shfl_down_sync", file, line},
                                      [=](int self, int) { return self + static_cast<int>(lanes); });
}
#undef MOEGRAD_EMULATED_WHERE
