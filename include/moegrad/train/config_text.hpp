#pragma once
// Settings as text: how values of a configuration are read, and the errors for those that are not what they should be.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad {

namespace detail {

[[noreturn]] inline void refuse_value(const std::string& expected, const std::string& text) {
    throw Error{ErrorCode::config, "value", expected, "\"" + text + "\""};
}

inline double parse_number(const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !std::isfinite(value)) refuse_value("a finite number", text);
    return value;
}

inline Index parse_count(const std::string& text) {
    const double value = parse_number(text);
    if (value < 0 || value > 9e15 || value != static_cast<double>(static_cast<Index>(value))) {
        refuse_value("a whole number from 0", text);
    }
    return static_cast<Index>(value);
}

/// Fits an int whatever is typed; the range is checked when the run starts.
inline Index parse_threads(const std::string& text) {
    return std::min<Index>(parse_count(text), 1 << 20);
}

inline bool parse_flag(const std::string& text) {
    if (text == "true" || text == "1") return true;
    if (text == "false" || text == "0") return false;
    refuse_value("true or false", text);
}

inline std::vector<std::string> parse_list(const std::string& text) {
    if (text.empty()) return {};
    std::vector<std::string> items(1);
    for (char c : text) {
        if (c == ',') {
            items.emplace_back();
        } else if (c != ' ') {
            items.back() += c;
        }
    }
    return items;
}

/// The index of `text` among `names`.
inline int parse_choice(const std::string& text, std::initializer_list<const char*> names) {
    int i = 0;
    std::string all;
    for (const char* one : names) {
        if (text == one) return i;
        all += (i++ ? ", " : "") + std::string(one);
    }
    refuse_value("one of " + all, text);
}

template <class Items>
std::string join(const Items& items) {
    std::string text;
    for (const auto& item : items) text += (text.empty() ? "" : ",") + format("{}", item);
    return text;
}

inline const char* flag_text(bool value) {
    return value ? "true" : "false";
}

}  // namespace detail

}  // namespace moegrad
