#pragma once
// NFC through utf8proc 2.8 or later, where MOEGRAD_HAVE_UTF8PROC says that it is there.

#include <moegrad/io/unicode_normalize.hpp>

#ifdef MOEGRAD_HAVE_UTF8PROC
#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/utf8.hpp>

#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

namespace moegrad {

/// Marks in a row are put in order by insertion; so many are no text, and the square of them would be felt.
inline constexpr std::size_t kMostMarksInARow = 16384;

inline void check_marks(std::string_view text) {
    std::size_t marks = 0;
    for (std::size_t at = 0; at < text.size();) {
        const Utf8Unit unit = utf8_unit(text, at);
        at += unit.length;
        const bool mark =
            unit.point >= 0x300 &&
            utf8proc_get_property(static_cast<utf8proc_int32_t>(unit.point))->combining_class != 0;
        marks = mark ? marks + 1 : 0;
        if (marks > kMostMarksInARow)
            throw Error{ErrorCode::data, "normalisation NFC",
                        moegrad::format("at most {} combining marks in a row", kMostMarksInARow),
                        moegrad::format("more, up to byte {}", at)};
    }
}

inline std::string utf8proc_nfc(std::string_view text) {
    check_marks(text);
    utf8proc_uint8_t* raw = nullptr;
    const utf8proc_ssize_t length = utf8proc_map(
        reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
        &raw, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(raw, std::free);
    if (length < 0)
        throw Error{ErrorCode::data, "normalisation NFC", "text that utf8proc takes",
                    utf8proc_errmsg(length)};
    return {reinterpret_cast<const char*>(raw), static_cast<std::size_t>(length)};
}

inline std::size_t utf8proc_cluster_end(std::string_view text, std::size_t at) {
    utf8proc_int32_t state = 0;
    Utf8Unit unit = utf8_unit(text, at);
    for (at += unit.length; at < text.size(); at += unit.length) {
        const std::uint32_t before = unit.point;
        unit = utf8_unit(text, at);
        if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(before),
                                             static_cast<utf8proc_int32_t>(unit.point), &state))
            break;
    }
    return at;
}

inline const bool utf8proc_in_slot = [] {
    nfc_slot() = {utf8proc_nfc, utf8proc_cluster_end};
    return true;
}();

}  // namespace moegrad
#endif
