#pragma once
// SHA-256 (FIPS 180-4, 6.2): 64-byte blocks, eight 32-bit words of state,
//     T1 = h + S1(e) + Ch(e,f,g) + K[t] + W[t]      T2 = S0(a) + Maj(a,b,c)
//     (a..h) <- (T1 + T2, a, b, c, d + T1, e, f, g)
//     W[t] = s1(W[t-2]) + W[t-7] + s0(W[t-15]) + W[t-16]
// Two ways to the same digest: plain C++, and the SHA instructions of x86 where the processor has them.

#include <moegrad/core/format.hpp>
#include <moegrad/io/mapped_file.hpp>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace moegrad {

/// How blocks are compressed; the digest is the same.
enum class Sha256Path { plain, instructions };

namespace sha256 {

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
alignas(16) inline constexpr std::array<std::uint32_t, 64> kRounds{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// The same of the square roots of the first 8 primes.
inline constexpr std::array<std::uint32_t, 8> kStart{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

inline constexpr std::size_t kBlock = 64;

inline std::uint32_t big_endian(const std::byte* bytes) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes, sizeof(word));
    return std::endian::native == std::endian::little ? __builtin_bswap32(word) : word;
}

/// `count` blocks of 64 bytes.
inline void compress_plain(std::array<std::uint32_t, 8>& state, const std::byte* blocks, std::size_t count) {
    for (; count > 0; --count, blocks += kBlock) {
        std::array<std::uint32_t, 64> w;
        for (std::size_t t = 0; t < 16; ++t) w[t] = big_endian(blocks + 4 * t);
        for (std::size_t t = 16; t < 64; ++t) {
            const std::uint32_t x = w[t - 15], y = w[t - 2];
            const std::uint32_t s0 = std::rotr(x, 7) ^ std::rotr(x, 18) ^ (x >> 3);
            const std::uint32_t s1 = std::rotr(y, 17) ^ std::rotr(y, 19) ^ (y >> 10);
            w[t] = s1 + w[t - 7] + s0 + w[t - 16];
        }
        auto [a, b, c, d, e, f, g, h] = state;
        for (std::size_t t = 0; t < 64; ++t) {
            const std::uint32_t big1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
            const std::uint32_t t1 = h + big1 + (g ^ (e & (f ^ g))) + kRounds[t] + w[t];
            const std::uint32_t big0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
            const std::uint32_t t2 = big0 + ((a & b) | (c & (a | b)));
            h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
        }
        const std::array<std::uint32_t, 8> out{a, b, c, d, e, f, g, h};
        for (std::size_t i = 0; i < 8; ++i) state[i] += out[i];
    }
}

#if defined(__x86_64__)

inline bool has_instructions() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (b & (1u << 29)) == 0) return false;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1u << 19)) != 0 && (c & (1u << 9)) != 0;
}

// The instructions keep the state as (a, b, e, f) and (c, d, g, h), first letter in the highest lane, and do two rounds
// on two words; four words of W and K go through at a time.
__attribute__((target("sha,sse4.1,ssse3"))) inline void compress_instructions(
    std::array<std::uint32_t, 8>& state, const std::byte* blocks, std::size_t count) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    const auto [a, b, c, d, e, f, g, h] = state;
    const auto lane = [](std::uint32_t word) { return static_cast<int>(word); };
    __m128i abef = _mm_set_epi32(lane(a), lane(b), lane(e), lane(f));
    __m128i cdgh = _mm_set_epi32(lane(c), lane(d), lane(g), lane(h));
    for (; count > 0; --count, blocks += kBlock) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
#pragma GCC unroll 16
        for (int four = 0; four < 16; ++four) {
            __m128i& now = w[four % 4];
            if (four < 4) {
                const auto* from = reinterpret_cast<const __m128i*>(blocks + 16 * four);
                now = _mm_shuffle_epi8(_mm_loadu_si128(from), swap);
            } else {  // now holds W[t-16..t-13]
                const __m128i two_back = w[(four + 2) % 4], one_back = w[(four + 3) % 4];
                const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(four + 1) % 4]),
                                                  _mm_alignr_epi8(one_back, two_back, 4));
                now = _mm_sha256msg2_epu32(sum, one_back);
            }
            const auto* constants = reinterpret_cast<const __m128i*>(kRounds.data() + 4 * four);
            const __m128i words = _mm_add_epi32(now, _mm_load_si128(constants));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(words, 0x0E));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    alignas(16) std::uint32_t feba[4], hgdc[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(feba), abef);
    _mm_store_si128(reinterpret_cast<__m128i*>(hgdc), cdgh);
    state = {feba[3], feba[2], hgdc[3], hgdc[2], feba[1], feba[0], hgdc[1], hgdc[0]};
}

#else

inline bool has_instructions() {
    return false;
}
inline void compress_instructions(std::array<std::uint32_t, 8>& state, const std::byte* blocks,
                                  std::size_t count) {
    compress_plain(state, blocks, count);
}

#endif

inline Sha256Path best_path() {
    static const bool instructions = has_instructions();
    return instructions ? Sha256Path::instructions : Sha256Path::plain;
}

}  // namespace sha256

class Sha256 {
public:
    explicit Sha256(Sha256Path path = sha256::best_path()) : path_(path) {}
    /// Goes on after `bytes`, whole blocks, that brought the state there.
    Sha256(const std::array<std::uint32_t, 8>& state, std::uint64_t bytes)
        : state_(state), length_(bytes), path_(sha256::best_path()) {}

    void update(std::span<const std::byte> bytes) {
        length_ += bytes.size();
        if (held_ > 0) {
            const std::size_t taken = std::min(bytes.size(), sha256::kBlock - held_);
            std::memcpy(block_.data() + held_, bytes.data(), taken);
            held_ += taken;
            bytes = bytes.subspan(taken);
            if (held_ < sha256::kBlock) return;
            compress(block_.data(), 1);
            held_ = 0;
        }
        compress(bytes.data(), bytes.size() / sha256::kBlock);
        held_ = bytes.size() % sha256::kBlock;
        if (held_ > 0) std::memcpy(block_.data(), bytes.data() + bytes.size() - held_, held_);
    }
    void update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }

    /// Of all bytes so far; more may follow.
    std::array<std::uint8_t, 32> digest() const {
        Sha256 last = *this;
        const std::uint64_t bits = 8 * length_;
        std::array<std::byte, 72> tail{std::byte{0x80}};
        const std::size_t zeros = (held_ < 56 ? 56 : 120) - held_;
        for (std::size_t i = 0; i < 8; ++i) tail[zeros + i] = static_cast<std::byte>(bits >> (56 - 8 * i));
        last.update(std::span(tail.data(), zeros + 8));
        std::array<std::uint8_t, 32> out;
        for (std::size_t i = 0; i < out.size(); ++i)
            out[i] = static_cast<std::uint8_t>(last.state_[i / 4] >> (24 - 8 * (i % 4)));
        return out;
    }

    /// The digest as 64 small hexadecimal digits.
    std::string hex() const {
        std::string text;
        for (const std::uint8_t byte : digest()) text += moegrad::format("{:02x}", byte);
        return text;
    }

private:
    void compress(const std::byte* blocks, std::size_t count) {
        if (count == 0) return;
        if (path_ == Sha256Path::instructions) {
            sha256::compress_instructions(state_, blocks, count);
        } else {
            sha256::compress_plain(state_, blocks, count);
        }
    }

    std::array<std::uint32_t, 8> state_ = sha256::kStart;
    std::array<std::byte, sha256::kBlock> block_{};
    std::size_t held_ = 0;
    std::uint64_t length_ = 0;
    Sha256Path path_;
};

inline std::string sha256_hex(std::span<const std::byte> bytes) {
    Sha256 hash;
    hash.update(bytes);
    return hash.hex();
}
inline std::string sha256_hex(std::string_view text) {
    return sha256_hex(std::as_bytes(std::span(text.data(), text.size())));
}

/// Of a whole file, as `sha256sum` prints it.
inline std::string sha256_file(const std::string& path) {
    constexpr std::size_t kPiece = std::size_t{4} << 20;
    const MappedFile file(path);
    Sha256 hash;
    for (std::size_t at = 0; at < file.size(); at += kPiece) {
        const std::size_t count = std::min(kPiece, file.size() - at);
        file.expect(at + count, kPiece);
        hash.update(file.bytes().subspan(at, count));
        file.forget(at, count);  // a checkpoint that is hashed is not held
    }
    return hash.hex();
}

}  // namespace moegrad
