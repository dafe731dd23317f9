#pragma once
// Unicode normalisation form C, behind a seam: unicode_utf8proc.hpp fills the slot where utf8proc is
// there (macro MOEGRAD_HAVE_UTF8PROC); without it require_nfc says which package brings it. Unicode Standard Annex 15.

#include <moegrad/core/error.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace moegrad {

struct NfcFunctions {
    std::string (*normalize)(std::string_view text) = nullptr;
    /// Where the grapheme cluster that begins at `at` ends; no composition goes across such an end.
    std::size_t (*cluster_end)(std::string_view text, std::size_t at) = nullptr;
};

inline NfcFunctions& nfc_slot() {
    static NfcFunctions slot;
    return slot;
}

inline const NfcFunctions& require_nfc(const std::string& place) {
    if (!nfc_slot().normalize)
        throw Error{ErrorCode::unsupported, place, "a tokenizer without normalisation NFC",
                    "one that needs it, in a build without utf8proc",
                    "install the Debian package libutf8proc-dev and build again"};
    return nfc_slot();
}

inline bool is_ascii(std::string_view text) {
    for (const char c : text)
        if (static_cast<unsigned char>(c) >= 0x80) return false;
    return true;
}

}  // namespace moegrad
