#pragma once
// Source files as text: lines, code without comments, include lines.

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace repo {

struct SourceFile {
    std::string path;  // from the root of the tree: "include/moegrad/ops/silu.hpp"
    std::string text;
};
using Tree = std::vector<SourceFile>;

inline bool starts(std::string_view text, std::string_view with) {
    return text.substr(0, with.size()) == with;
}
inline bool ends(std::string_view text, std::string_view with) {
    return text.size() >= with.size() && text.substr(text.size() - with.size()) == with;
}
inline bool contains(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}
inline bool one_of(std::string_view text, std::initializer_list<std::string_view> list) {
    return std::find(list.begin(), list.end(), text) != list.end();
}
inline bool alphanumeric(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0;
}
inline std::string_view basename(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    const std::string_view file = slash == path.npos ? path : path.substr(slash + 1);
    return file.substr(0, file.find('.'));
}

inline const SourceFile* find(const Tree& tree, std::string_view path) {
    for (const SourceFile& file : tree) {
        if (file.path == path) return &file;
    }
    return nullptr;
}

inline std::vector<std::string_view> lines_of(std::string_view text) {
    std::vector<std::string_view> lines;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        lines.push_back(text.substr(0, end));
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
    }
    return lines;
}

/// The text without its comments; newlines stay where they were.
inline std::string code_of(std::string_view text) {
    enum class In { code, line_comment, block_comment, string, character } in = In::code;
    std::string code;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i], next = i + 1 < text.size() ? text[i + 1] : '\0';
        if (in == In::line_comment || in == In::block_comment) {
            if (c == '\n') code += c;
            if (in == In::line_comment && c == '\n') in = In::code;
            if (in == In::block_comment && c == '*' && next == '/') in = In::code, ++i;
            continue;
        }
        if (in == In::code && c == '/' && next == '/') {
            in = In::line_comment;
            continue;
        }
        if (in == In::code && c == '/' && next == '*') {
            in = In::block_comment, ++i;
            continue;
        }
        code += c;
        if (in != In::code && c == '\\' && next != '\0') {
            code += next, ++i;
        } else if (c == '"' && in != In::character) {
            in = in == In::string ? In::code : In::string;
        } else if (c == '\'' && in == In::character) {
            in = In::code;
        } else if (c == '\'' && in == In::code && (i == 0 || !alphanumeric(text[i - 1]))) {
            in = In::character;  // after a letter or digit it separates digits: 1'000
        }
    }
    return code;
}

struct Include {
    std::string target;  // "moegrad/ops/silu.hpp"
    bool quoted;
};
inline std::vector<Include> includes_of(std::string_view text) {
    std::vector<Include> found;
    const std::string code = code_of(text);
    for (std::string_view line : lines_of(code)) {
        const std::size_t hash = line.find_first_not_of(" \t");
        if (hash == line.npos || line[hash] != '#') continue;
        const std::size_t word = line.find_first_not_of(" \t", hash + 1);
        if (word == line.npos || !starts(line.substr(word), "include")) continue;
        const std::size_t open = line.find_first_of("<\"", word);
        if (open == line.npos) continue;
        const std::size_t close = line.find_first_of(">\"", open + 1);
        if (close == line.npos) continue;
        found.push_back({std::string(line.substr(open + 1, close - open - 1)), line[open] == '"'});
    }
    return found;
}

}  // namespace repo
