#pragma once
// plain_words: a text as words, for what counts words and reads no further.

#include <string>
#include <string_view>
#include <vector>

namespace moegrad {

/// Letters and digits in lower case (ASCII), bytes above 0x7f as they are; every other sign is a word of its own.
inline std::vector<std::string> plain_words(std::string_view text) {
    std::vector<std::string> words;
    bool open = false;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const char small = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
        const bool letter = (small >= 'a' && small <= 'z') || (c >= '0' && c <= '9') || byte >= 0x80;
        if (letter && open) {
            words.back() += small;
        } else if (byte > ' ') {
            words.emplace_back(1, small);
        }
        open = letter;
    }
    return words;
}

}  // namespace moegrad
