#pragma once
// Philox4x32-10: ten rounds of multiply, swap and xor turn (counter, key) into four independent 32-bit words.
// Stateless: the same counter and key give the same words anywhere. Salmon, Moraes, Dror & Shaw, "Parallel
// random numbers: as easy as 1, 2, 3", SC 2011.
//
//   round:  (c0, c1, c2, c3) -> (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)),  k += W
//
// Plus the distributions made from the words, and Random: a counter that runs on, for weights and shuffles.

#include <moegrad/core/config.hpp>
#include <moegrad/core/math.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace moegrad {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

MOEGRAD_HD constexpr PhiloxCounter philox(PhiloxCounter counter, PhiloxKey key) {
    std::uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    std::uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; ++round) {
        std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0;
        std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c2;
        c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
        c1 = static_cast<std::uint32_t>(p1);
        c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
        c3 = static_cast<std::uint32_t>(p0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {c0, c1, c2, c3};
}

MOEGRAD_HD constexpr PhiloxKey philox_key(std::uint64_t seed) {
    return {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
}

/// A multiple of 2^-24 in [0, 1).
MOEGRAD_HD constexpr float uniform(std::uint32_t word) {
    return static_cast<float>(word >> 8) * 0x1p-24f;
}

/// An odd multiple of 2^-24 in (0, 1): never 0, never 1, mean exactly 1/2. Safe under log.
MOEGRAD_HD constexpr float uniform_open(std::uint32_t word) {
    return static_cast<float>(((word >> 9) << 1) | 1u) * 0x1p-24f;
}

/// The same from 64 bits: an odd multiple of 2^-53 in (0, 1).
MOEGRAD_HD constexpr double uniform_open(std::uint32_t high, std::uint32_t low) {
    std::uint64_t word = (std::uint64_t{high} << 32) | low;
    return static_cast<double>(((word >> 12) << 1) | 1u) * 0x1p-53;
}

/// Two independent standard normals (Box & Muller 1958), in double: a word of 32 bits alone would cut the
/// tail at 6.7.
struct NormalPair {
    double first, second;
};
MOEGRAD_HD inline NormalPair normal_pair(PhiloxCounter words) {
    double radius = sqrt(-2.0 * log(uniform_open(words[0], words[1])));
    SinCos<double> turn = sincos(0x1.921fb54442d18p+2 * uniform_open(words[2], words[3]));
    return {radius * turn.cos, radius * turn.sin};
}

/// The stream number `stream` of the seed. Streams never overlap; each has 2^66 words.
class Random {
public:
    explicit constexpr Random(std::uint64_t seed, std::uint64_t stream = 0)
        : key_(philox_key(seed)), stream_(stream) {}

    constexpr std::uint32_t next_word() {
        if (used_ == 4) refill();
        return words_[used_++];
    }
    /// [0, 1), a multiple of 2^-24.
    constexpr float next_uniform() { return uniform(next_word()); }

    /// Standard normal. Pairs come from whole blocks of four words, whatever was drawn before.
    double next_normal() {
        if (has_spare_) {
            has_spare_ = false;
            return spare_;
        }
        refill();
        used_ = 4;
        NormalPair pair = normal_pair(words_);
        spare_ = pair.second;
        has_spare_ = true;
        return pair.first;
    }

    /// Uniform in [0, bound), bound > 0, without bias: draws beyond the last whole multiple of bound are
    /// rejected.
    constexpr std::uint64_t next_below(std::uint64_t bound) {
        if (bound <= 1) return 0;
        std::uint64_t rejected = (0 - bound) % bound;  // 2^64 mod bound
        for (;;) {
            std::uint64_t word = std::uint64_t{next_word()} << 32;
            word |= next_word();
            if (word >= rejected) return word % bound;
        }
    }

private:
    constexpr void refill() {
        words_ = philox({static_cast<std::uint32_t>(block_), static_cast<std::uint32_t>(block_ >> 32),
                         static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
                        key_);
        ++block_;
        used_ = 0;
    }

    PhiloxKey key_;
    std::uint64_t stream_;
    std::uint64_t block_ = 0;
    PhiloxCounter words_{};
    std::size_t used_ = 4;
    double spare_ = 0.0;
    bool has_spare_ = false;
};

/// Fisher-Yates: every order equally likely, the same for the same random.
template <class T>
void shuffle(std::span<T> items, Random& random) {
    for (std::size_t left = items.size(); left > 1; --left) {
        std::size_t pick = static_cast<std::size_t>(random.next_below(left));
        std::swap(items[left - 1], items[pick]);
    }
}

}  // namespace moegrad
