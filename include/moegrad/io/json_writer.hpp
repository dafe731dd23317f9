#pragma once
// write_json: Json to text, keys in their order, doubles as the shortest text that reads back to the same bits.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/json_value.hpp>
#include <moegrad/io/utf8.hpp>

#include <cmath>
#include <string>
#include <string_view>

namespace moegrad {

enum class JsonStyle { compact, indented };

inline void append_json_string(std::string& out, std::string_view text) {
    if (!is_utf8(text)) throw Error{ErrorCode::value, "write_json", "UTF-8 text", printable(text)};
    out += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\t') {
            out += "\\t";
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += moegrad::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            out += c;
        }
    }
    out += '"';
}

inline void append_json_real(std::string& out, double value) {
    if (!std::isfinite(value))
        throw Error{ErrorCode::value, "write_json", "a finite number", moegrad::format("{}", value)};
    const std::string text = moegrad::format("{}", value);
    out += text;
    // A real stays a real: 1.0 must not come back as the integer 1.
    if (text.find_first_of(".e") == std::string::npos) out += ".0";
}

inline void append_json(std::string& out, const Json& json, JsonStyle style, int depth) {
    const bool indented = style == JsonStyle::indented;
    const auto line = [&](int level) {
        if (indented) out += "\n" + std::string(static_cast<std::size_t>(2 * level), ' ');
    };
    if (const Json::Members* members = json.members()) {
        out += '{';
        for (std::size_t i = 0; i < members->size(); ++i) {
            if (i > 0) out += ',';
            line(depth + 1);
            append_json_string(out, (*members)[i].key);
            out += indented ? ": " : ":";
            append_json(out, (*members)[i].value, style, depth + 1);
        }
        if (!members->empty()) line(depth);
        out += '}';
    } else if (const Json::Array* array = json.array()) {
        out += '[';
        for (std::size_t i = 0; i < array->size(); ++i) {
            if (i > 0) out += ',';
            line(depth + 1);
            append_json(out, (*array)[i], style, depth + 1);
        }
        if (!array->empty()) line(depth);
        out += ']';
    } else if (const std::string* text = json.string()) {
        append_json_string(out, *text);
    } else if (json.is_real()) {
        append_json_real(out, *json.number());
    } else {
        out += json.describe();
    }
}

inline std::string write_json(const Json& json, JsonStyle style = JsonStyle::compact) {
    std::string out;
    append_json(out, json, style, 0);
    if (style == JsonStyle::indented) out += '\n';
    return out;
}

}  // namespace moegrad
