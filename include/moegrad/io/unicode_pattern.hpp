#pragma once
// From a pattern of tokenizer.json, which means what Oniguruma (Ruby syntax) makes of it, to PCRE2. Only what both read
// the same way, or what can be rewritten, passes; the rest is refused by name, since a pattern that is nearly the same
// cuts some texts elsewhere.
//   \s  \p{White_Space}                     PCRE2 counts U+180E as a space
//   \w  [\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]   PCRE2 has no marks
//   ^ $ lines, as (?m:^) (?m:$)             in Ruby always
//   \p{Han}  \p{sc:Han}                     PCRE2 takes script extensions
//   \uHHHH  \x{HHHH}
// Refused: classes in classes ([a[b]], &&, [:alpha:]), {n,m}+ and {n}? (Ruby repeats the repeat), {,n}, back-references,
// recursion, named groups, \h \v \K \G \R \X \b, options other than (?i: and a leading (?i).

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/utf8.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace moegrad {

class PatternTranslator {
public:
    PatternTranslator(std::string_view pattern, std::string place)
        : pattern_(pattern), place_(std::move(place)) {}

    std::string translate() {
        if (pattern_.size() > kLongest)
            refuse(moegrad::format("a pattern of at most {} bytes", kLongest),
                   moegrad::format("{} bytes", pattern_.size()));
        if (!is_utf8(pattern_)) refuse("a pattern in UTF-8", "bytes that are not");
        if (rest().starts_with("(?i)")) take(4);
        while (at_ < pattern_.size()) step();
        return std::move(out_);
    }

private:
    static constexpr std::size_t kLongest = 16384;

    [[noreturn]] void refuse(const std::string& expected, const std::string& got) const {
        throw Error{ErrorCode::unsupported, place_, expected,
                    got + moegrad::format(" at byte {} of \"{}\"", at_, printable(pattern_, 200)),
                    "it would be cut elsewhere than by the tokenizers library"};
    }
    std::string_view rest() const { return std::string_view(pattern_).substr(at_); }
    void take(std::size_t count) {
        out_ += rest().substr(0, count);
        at_ += count;
    }
    void replace(std::size_t count, std::string_view by) {
        out_ += by;
        at_ += count;
    }

    void step() {
        switch (pattern_[at_]) {
            case '\\': return escape(false);
            case '[': return character_class();
            case '(': return open();
            case '{': return repeat();
            case '^': return replace(1, "(?m:^)");
            case '$': return replace(1, "(?m:$)");
            default: return take(1);
        }
    }

    void open() {
        if (!rest().starts_with("(?")) {
            if (rest().starts_with("(*")) refuse("groups", "\"(*\"");
            return take(1);
        }
        for (const std::string_view kind : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"})
            if (rest().starts_with(kind)) return take(kind.size());
        refuse("groups (?: (?i: (?= (?! (?<= (?<! (?>", printable(rest().substr(0, 4)));
    }

    /// {n}, {n,}, {n,m}; what else begins with a brace means different things.
    void repeat() {
        std::size_t end = at_ + 1;
        const auto digits = [&] {
            const std::size_t begin = end;
            while (end < pattern_.size() && pattern_[end] >= '0' && pattern_[end] <= '9') ++end;
            return end - begin;
        };
        bool fixed = digits() > 0;
        const bool counted = fixed;
        if (end < pattern_.size() && pattern_[end] == ',') {
            fixed = false;
            ++end;
            digits();
        }
        if (!counted || end >= pattern_.size() || pattern_[end] != '}')
            refuse("{n}, {n,} or {n,m}", "another brace");
        const char after = end + 1 < pattern_.size() ? pattern_[end + 1] : ' ';
        if (after == '+' || after == '*' || (fixed && after == '?'))
            refuse("a repeat that is not repeated", printable(rest().substr(0, end + 2 - at_)));
        take(end + 1 - at_);
    }

    void character_class() {
        take(1);
        if (rest().starts_with("^")) take(1);
        if (rest().starts_with("]")) refuse("a class with something in it", "\"]\" first");
        while (at_ < pattern_.size() && pattern_[at_] != ']') {
            if (pattern_[at_] == '[') refuse("classes without classes inside", "\"[\" in a class");
            if (rest().starts_with("&&")) refuse("classes without intersections", "\"&&\"");
            if (pattern_[at_] == '\\')
                escape(true);
            else
                take(1);
        }
        if (at_ >= pattern_.size()) refuse("\"]\" at the end of a class", "the end");
        take(1);
    }

    void escape(bool in_class) {
        const char c = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
        if (c == 's') return replace(2, "\\p{White_Space}");
        if (c == 'S') return replace(2, "\\P{White_Space}");
        constexpr std::string_view word = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
        if (c == 'w') return replace(2, in_class ? std::string(word) : "[" + std::string(word) + "]");
        if (c == 'W' && !in_class) return replace(2, "[^" + std::string(word) + "]");
        if (c == 'p' || c == 'P') return property();
        if (c == 'x') return hexadecimal(2);
        if (c == 'u') return hexadecimal(4);
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        const bool same = letter
                              ? std::string_view("rntfdD").find(c) != std::string_view::npos
                              : static_cast<unsigned char>(c) > ' ' && static_cast<unsigned char>(c) < 0x7F;
        if (!same && c != ' ') refuse("an escape that is known", printable(rest().substr(0, 2)));
        take(2);
    }

    /// \xHH, \x{H..}, \uHHHH
    void hexadecimal(std::size_t digits) {
        std::size_t begin = at_ + 2, end = begin;
        const bool braces = digits == 2 && begin < pattern_.size() && pattern_[begin] == '{';
        if (braces) end = ++begin;
        const auto digit = [&](std::size_t i) {
            return i < pattern_.size() &&
                   std::string_view("0123456789abcdefABCDEF").find(pattern_[i]) != std::string_view::npos;
        };
        while (digit(end) && end - begin < (braces ? 6 : digits)) ++end;
        const bool whole =
            braces ? end > begin && end < pattern_.size() && pattern_[end] == '}' : end - begin == digits;
        // \x80 and above would be a byte to Oniguruma.
        if (!whole || (digits == 2 && !braces && pattern_[begin] > '7'))
            refuse("\\xHH up to \\x7F, \\x{H} or \\uHHHH", printable(rest().substr(0, 4)));
        const std::string code = pattern_.substr(begin, end - begin);
        replace(end + (braces ? 1 : 0) - at_, "\\x{" + code + "}");
    }

    void property() {
        const std::size_t close = pattern_.find('}', at_);
        if (at_ + 2 >= pattern_.size() || pattern_[at_ + 2] != '{' || close == std::string::npos)
            refuse("\\p{..}", printable(rest().substr(0, 3)));
        std::string name = pattern_.substr(at_ + 3, close - at_ - 3);
        const bool inverse = name.starts_with("^");
        if (inverse) name.erase(0, 1);
        constexpr std::string_view categories =
            " C Cc Cf Cn Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z "
            "Zl "
            "Zp Zs Alphabetic White_Space ";
        const bool known = categories.find(" " + name + " ") != std::string_view::npos;
        if (!known &&
            (name.size() < 3 || name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"
                                                       "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != std::string::npos))
            refuse("a general category or a script", "\\p{" + printable(name) + "}");
        replace(close + 1 - at_, std::string("\\") + pattern_[at_ + 1] + (inverse ? "{^" : "{") +
                                     (known ? "" : "sc:") + name + "}");
    }

    std::string pattern_, place_, out_;
    std::size_t at_ = 0;
};

}  // namespace moegrad
