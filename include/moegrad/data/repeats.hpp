#pragma once
// A text is read without its repeats: a run of whole lines that stood before, line for line, is dropped where it has
// kRepeatBytes or more. What is held out of a text would else be trained on: collections that were written in several
// passes hold most of their documents twice, at any distance and in any order. Short lines within such a run and blank ones
// behind it go with it; a line or two that happen to come again, as braces and headings do, stay. Runs are compared byte by
// byte, so the same bytes in give the same bytes out on every machine, in linear time.

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace moegrad {

/// Half the window of `heldout_leak`: of a repeat of two windows hardly anything stays.
inline constexpr std::size_t kRepeatBytes = 100;

namespace detail {

/// Where each line begins, and the end of the text.
inline std::vector<std::size_t> line_begins(std::string_view text) {
    std::vector<std::size_t> begins{0};
    while (begins.back() < text.size()) {
        const std::size_t end = text.find('\n', begins.back());
        begins.push_back(end == std::string_view::npos ? text.size() : end + 1);
    }
    return begins;
}

/// The last line of a text may lack the end that it has elsewhere.
inline std::string_view without_line_end(std::string_view run) {
    if (run.ends_with('\n')) run.remove_suffix(1);
    if (run.ends_with('\r')) run.remove_suffix(1);
    return run;
}

}  // namespace detail

/// The lines that stand in no repeated run of `least` bytes or more. Every line begins a run, the shortest of that size.
inline std::string without_repeats(std::string_view text, std::size_t least = kRepeatBytes) {
    const auto begins = detail::line_begins(text);
    const std::size_t lines = begins.size() - 1;
    std::unordered_set<std::string_view> known;
    std::string kept;
    bool after = false;  // a line that was dropped
    for (std::size_t line = 0, end = 0, dropped = 0; line < lines; ++line) {
        while (end < lines && begins[end] - begins[line] < least) ++end;
        const std::string_view run = text.substr(begins[line], begins[end] - begins[line]);
        const bool whole = run.size() >= least;
        if (whole && !known.insert(detail::without_line_end(run)).second) dropped = std::max(dropped, end);
        const std::string_view own = text.substr(begins[line], begins[line + 1] - begins[line]);
        after = line < dropped || (after && own.find_first_not_of(" \t\r\n") == std::string_view::npos);
        if (!after) kept += own;
    }
    return kept;
}

}  // namespace moegrad
