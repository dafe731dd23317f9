#pragma once
// Mutations of a safetensors file that keep its frame: the header changes, the length field and the data follow. Plain
// mutations, which nearly all end at the length field, come one time in eight.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace fuzz {

/// xorshift64*, for the mutator only.
class MutationRandom {
public:
    explicit MutationRandom(unsigned seed) : state_(seed * 2654435761u + 88172645463325252ull) {}
    std::size_t below(std::size_t bound) {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return static_cast<std::size_t>((state_ * 2685821657736338717ull) >> 33) % bound;
    }

private:
    std::uint64_t state_;
};

/// Replaces one run of digits by a number that a reader may get wrong.
inline void change_number(std::string& header, MutationRandom& random) {
    constexpr const char* numbers[] = {"0",          "1",
                                       "2",          "3",
                                       "4",          "8",
                                       "-1",         "9223372036854775807",
                                       "4294967296", "2147483648",
                                       "1e3",        "2.0",
                                       "16",         "18446744073709551615"};
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    std::size_t at = header.empty() ? 0 : random.below(header.size());
    for (std::size_t i = 0; i < header.size() && !digit(header[at]); ++i) at = (at + 1) % header.size();
    if (header.empty() || !digit(header[at])) return;
    std::size_t begin = at, end = at;
    while (begin > 0 && digit(header[begin - 1])) --begin;
    while (end < header.size() && digit(header[end])) ++end;
    header.replace(begin, end - begin, numbers[random.below(std::size(numbers))]);
}

/// A second entry behind the last, so that ranges meet.
inline void add_entry(std::string& header, MutationRandom& random) {
    const std::size_t brace = header.rfind('}');
    if (brace == std::string::npos || brace == 0) return;
    const std::string begin = std::to_string(random.below(17)), end = std::to_string(random.below(17));
    header.insert(brace, std::string(",\"") + static_cast<char>('a' + random.below(26)) +
                             R"(":{"dtype":"U8","shape":[)" + std::to_string(random.below(9)) +
                             R"(],"data_offsets":[)" + begin + "," + end + "]}");
}

inline std::string mutate_header(std::string header, std::size_t room, MutationRandom& random) {
    const std::size_t way = random.below(8);
    if (way < 3) {
        change_number(header, random);
    } else if (way == 3) {
        add_entry(header, random);
    } else {
        const std::size_t size = header.size();
        header.resize(std::max(room, size));
        header.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(header.data()), size, header.size()));
    }
    return header;
}

}  // namespace fuzz

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
    fuzz::MutationRandom random(seed);
    if (size < 8 || max_size < 64 || random.below(8) == 0) return LLVMFuzzerMutate(data, size, max_size);
    std::uint64_t length = 0;
    std::memcpy(&length, data, 8);
    length = std::min<std::uint64_t>(length, size - 8);
    const char* text = reinterpret_cast<const char*>(data) + 8;
    std::string rest(text + length, size - 8 - length);
    if (random.below(4) == 0) rest.resize(random.below(33));
    rest.resize(std::min(rest.size(), max_size / 4));
    const std::size_t room = max_size - 8 - rest.size();
    std::string header = fuzz::mutate_header(std::string(text, length), room, random);
    header.resize(std::min(header.size(), room));
    length = header.size();
    std::memcpy(data, &length, 8);
    std::memcpy(data + 8, header.data(), header.size());
    std::memcpy(data + 8 + header.size(), rest.data(), rest.size());
    return 8 + header.size() + rest.size();
}
