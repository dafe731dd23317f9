#pragma once
// sha256_group: the digests of several texts at once. Where the processor has AVX2 and no SHA instructions, eight texts
// go through the rounds of sha256.hpp side by side, one per 32-bit lane; a text that has ended leaves its lane.

#include <moegrad/io/sha256.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace moegrad {

namespace sha256 {

inline constexpr std::size_t kLanes = 8;

using LaneStates = std::array<std::array<std::uint32_t, 8>, kLanes>;  // per lane a..h

#if defined(__x86_64__)

inline bool has_lanes() {
    return __builtin_cpu_supports("avx2") != 0;
}

using Words = std::uint32_t __attribute__((vector_size(4 * kLanes)));

__attribute__((target("avx2"), always_inline)) inline Words rotate(Words x, int n) {
    return (x >> n) | (x << (32 - n));
}

__attribute__((target("avx2"))) inline void compress_lanes(LaneStates& states,
                                                           std::array<const std::byte*, kLanes> blocks,
                                                           std::size_t count) {
    Words state[8];
    for (std::size_t i = 0; i < 8; ++i)
        for (std::size_t lane = 0; lane < kLanes; ++lane) state[i][lane] = states[lane][i];
    for (; count > 0; --count) {
        Words w[16];
        for (std::size_t t = 0; t < 16; ++t)
            for (std::size_t lane = 0; lane < kLanes; ++lane) w[t][lane] = big_endian(blocks[lane] + 4 * t);
        Words a = state[0], b = state[1], c = state[2], d = state[3];
        Words e = state[4], f = state[5], g = state[6], h = state[7];
#pragma GCC unroll 16
        for (std::size_t t = 0; t < 64; ++t) {
            Words& now = w[t % 16];
            if (t >= 16) {
                const Words x = w[(t + 1) % 16], y = w[(t + 14) % 16];
                now += (rotate(x, 7) ^ rotate(x, 18) ^ (x >> 3)) + w[(t + 9) % 16] +
                       (rotate(y, 17) ^ rotate(y, 19) ^ (y >> 10));
            }
            const Words t1 =
                h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) + kRounds[t] + now;
            const Words t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
            h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
        }
        const Words out[8] = {a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < 8; ++i) state[i] += out[i];
        for (const std::byte*& block : blocks) block += kBlock;
    }
    for (std::size_t i = 0; i < 8; ++i)
        for (std::size_t lane = 0; lane < kLanes; ++lane) states[lane][i] = state[i][lane];
}

#else

inline bool has_lanes() {
    return false;
}
inline void compress_lanes(LaneStates&, std::array<const std::byte*, kLanes>, std::size_t) {}

#endif

/// How many texts a caller should hand over at once.
inline std::size_t group_size() {
    static const bool lanes = has_lanes() && best_path() == Sha256Path::plain;
    return lanes ? kLanes : 1;
}

/// Up to eight texts, all in lanes while at least three of them last.
inline std::vector<std::string> hex_by_lanes(std::span<const std::span<const std::byte>> texts) {
    LaneStates states;
    states.fill(kStart);
    std::array<std::size_t, kLanes> done{};  // blocks
    const auto left = [&](std::size_t i) { return texts[i].size() / kBlock - done[i]; };
    for (;;) {
        std::vector<std::size_t> going;
        for (std::size_t i = 0; i < texts.size(); ++i)
            if (left(i) > 0) going.push_back(i);
        if (going.size() < 3) break;
        std::size_t count = left(going.front());
        for (const std::size_t i : going) count = std::min(count, left(i));
        // Lanes without a text of their own repeat the first one; what comes out of them is dropped.
        LaneStates lanes;
        std::array<const std::byte*, kLanes> blocks;
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
            const std::size_t i = going[lane < going.size() ? lane : 0];
            lanes[lane] = states[i];
            blocks[lane] = texts[i].data() + kBlock * done[i];
        }
        compress_lanes(lanes, blocks, count);
        for (std::size_t lane = 0; lane < going.size(); ++lane) {
            states[going[lane]] = lanes[lane];
            done[going[lane]] += count;
        }
    }
    std::vector<std::string> digests;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        Sha256 rest(states[i], kBlock * done[i]);
        rest.update(texts[i].subspan(kBlock * done[i]));
        digests.push_back(rest.hex());
    }
    return digests;
}

}  // namespace sha256

/// The digests of at most sha256::group_size() texts.
inline std::vector<std::string> sha256_group(std::span<const std::span<const std::byte>> texts) {
    if (sha256::group_size() == sha256::kLanes && texts.size() <= sha256::kLanes)
        return sha256::hex_by_lanes(texts);
    std::vector<std::string> digests;
    for (const auto& text : texts) digests.push_back(sha256_hex(text));
    return digests;
}

}  // namespace moegrad
