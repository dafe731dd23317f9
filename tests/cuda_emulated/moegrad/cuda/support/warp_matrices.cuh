#pragma once
// In the place of cuda/support/warp_matrices.cuh: a warp's small matrices by exchanges between its lanes. Copies are done at once,
// so a wait that is missing does not show; whatever else a kernel of mma.sync does is run as it stands.

#include <cuda_runtime.h>

#include <array>
#include <cstring>

#include <moegrad/cuda/support/numbers.cuh>

namespace moegrad::cuda::hopper {

/// Of a block's shared memory, from its begin.
using Address = std::uint32_t;

inline Address shared_address(const void* p) {
    return static_cast<Address>(static_cast<const unsigned char*>(p) - emulated::shared_memory());
}

}  // namespace moegrad::cuda::hopper

namespace moegrad::cuda::grouped {

namespace detail {

/// What all lanes bring.
inline std::array<std::uint64_t, 32> of_lanes(std::uint64_t mine, const char* what) {
    unsigned present = 0;
    const std::uint64_t* from = emulated::exchange(~0u, mine, present, {what, __FILE__, __LINE__});
    std::array<std::uint64_t, 32> all;
    std::copy_n(from, 32, all.begin());
    return all;
}
inline std::uint32_t shared_half(std::uint64_t address) {
    std::uint16_t half;
    std::memcpy(&half, emulated::shared_memory() + address, 2);
    return half;
}
/// Number i of a lane's words, two a word, the lower half first.
inline float half_of(std::uint64_t words, unsigned i) {
    return wide(bf16::from_bits(static_cast<std::uint16_t>(words >> (16 * i))));
}

}  // namespace detail

inline void load_matrices(std::uint32_t (&r)[4], hopper::Address from) {
    const auto rows = detail::of_lanes(from, "ldmatrix");
    const unsigned lane = emulated::lane();
    for (unsigned i = 0; i < 4; ++i) {
        const std::uint64_t at = rows[8 * i + lane / 4] + lane % 4 * 4;
        r[i] = detail::shared_half(at) | detail::shared_half(at + 2) << 16;
    }
}
inline void load_turned_matrices(std::uint32_t (&r)[4], hopper::Address from) {
    const auto rows = detail::of_lanes(from, "ldmatrix, turned");
    const unsigned lane = emulated::lane();
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = 8 * i + lane % 4 * 2;
        r[i] = detail::shared_half(rows[row] + lane / 4 * 2) |
               detail::shared_half(rows[row + 1] + lane / 4 * 2) << 16;
    }
}

/// a: words of rows g = l / 4 and g + 8, columns 2 (l % 4) and 8 further; b: of column g; d: rows g and g + 8, columns
/// 2 (l % 4) and the next.
inline void multiply_16(float* d, const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
    const auto words = [](std::uint32_t low, std::uint32_t high) {
        return low | static_cast<std::uint64_t>(high) << 32;
    };
    const auto near = detail::of_lanes(words(a[0], a[2]), "mma"),
               below = detail::of_lanes(words(a[1], a[3]), "mma"),
               across = detail::of_lanes(words(b0, b1), "mma");
    const unsigned lane = emulated::lane(), row = lane / 4 * 4, column = lane % 4 * 2;
    for (unsigned k = 0; k < 16; ++k) {
        const unsigned from = k % 8 / 2, half = k / 8 * 2 + k % 2;
        for (unsigned j = 0; j < 2; ++j) {
            const float b = detail::half_of(across[(column + j) * 4 + from], half);
            d[j] += detail::half_of(near[row + from], half) * b;
            d[2 + j] += detail::half_of(below[row + from], half) * b;
        }
    }
}

template <bool Aligned>
void copy_chunk(hopper::Address to, const bf16* from, int count) {
    unsigned char* const place = emulated::shared_memory() + to;
    std::memset(place, 0, 16);
    if (count > 0) std::memcpy(place, from, static_cast<std::size_t>(count) * 2);
}
inline void close_copies() {}
template <int>
void wait_for_copies() {}

}  // namespace moegrad::cuda::grouped
