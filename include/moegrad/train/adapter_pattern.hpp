#pragma once
// NamePattern: the regular expressions that adapter_config.json may hold (target_modules, exclude_modules, the keys of
// rank_pattern and alpha_pattern), matched against a whole module name. Python's syntax without look-around, back
// references and flags, which are refused by name. Runs all branches at once (Thompson 1968), so the time is at most
// length x program size whatever the file says.

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/io/utf8.hpp>

namespace moegrad {

class NamePattern {
public:
    /// `place` names the key in errors.
    NamePattern(std::string text, std::string place) : text_(std::move(text)), place_(std::move(place)) {
        program_ = alternatives(0);
        if (at_ < text_.size()) refuse("a parenthesis that was opened");
    }

    bool matches(std::string_view name) const {
        std::vector<std::size_t> now, next, stack;
        std::vector<std::size_t> seen(program_.size() + 1, 0);
        enter(0, name, 0, now, seen, stack);
        for (std::size_t i = 0; i < name.size(); ++i) {
            next.clear();
            for (const std::size_t at : now) {
                if (at == program_.size() || !program_[at].set[static_cast<unsigned char>(name[i])]) continue;
                enter(at + 1, name, i + 1, next, seen, stack);
            }
            std::swap(now, next);
        }
        for (const std::size_t at : now) {
            if (at == program_.size()) return true;
        }
        return false;
    }

    /// Steps beyond those that a text of this length needs: what repeats like {999} make of it.
    std::size_t exploded() const {
        const std::size_t plain = 8 * text_.size();
        return program_.size() > plain ? program_.size() - plain : 0;
    }

private:
    using Bytes = std::bitset<256>;
    enum class Kind { byte, split, jump, begin, end, border };
    struct Step {
        Kind kind = Kind::byte;
        Bytes set{};
        std::ptrdiff_t first = 1, second = 1;  // split and jump: how far
    };
    using Program = std::vector<Step>;

    static constexpr std::size_t kMostSteps = 20'000;
    static constexpr std::size_t kMostText = 4096;
    static constexpr int kDeepest = 32;

    [[noreturn]] void refuse(const std::string& expected) const {
        throw Error{ErrorCode::unsupported, place_, expected,
                    format("\"{}\" at character {}", printable(text_, 200), at_),
                    "write the module names out as a list"};
    }

    static bool is_word(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    }

    /// Follows the steps that read nothing. `seen` holds position + 1 of the last visit.
    void enter(std::size_t from, std::string_view name, std::size_t position,
               std::vector<std::size_t>& states, std::vector<std::size_t>& seen,
               std::vector<std::size_t>& stack) const {
        stack.push_back(from);
        while (!stack.empty()) {
            const std::size_t at = stack.back();
            stack.pop_back();
            if (seen[at] == position + 1) continue;
            seen[at] = position + 1;
            if (at == program_.size() || program_[at].kind == Kind::byte) {
                states.push_back(at);
                continue;
            }
            const Step& step = program_[at];
            const auto go = [&](std::ptrdiff_t by) {
                stack.push_back(static_cast<std::size_t>(static_cast<std::ptrdiff_t>(at) + by));
            };
            if (step.kind == Kind::split) {
                go(step.first);
                go(step.second);
            } else if (step.kind == Kind::jump || holds(step.kind, name, position)) {
                go(step.first);
            }
        }
    }

    static bool holds(Kind kind, std::string_view name, std::size_t position) {
        if (kind == Kind::begin) return position == 0;
        if (kind == Kind::end) return position == name.size();
        const bool before = position > 0 && is_word(name[position - 1]);
        const bool after = position < name.size() && is_word(name[position]);
        return before != after;
    }

    void append(Program& to, const Program& more) const {
        if (to.size() + more.size() > kMostSteps || text_.size() > kMostText) refuse("a shorter pattern");
        to.insert(to.end(), more.begin(), more.end());
    }

    bool more() const { return at_ < text_.size(); }
    bool next_is(char c) const { return more() && text_[at_] == c; }
    char take() {
        if (!more()) refuse("a pattern that is whole");
        return text_[at_++];
    }

    Program alternatives(int depth) {
        if (depth > kDeepest) refuse("groups that nest less deep");
        Program left = sequence(depth);
        while (next_is('|')) {
            ++at_;
            const Program right = sequence(depth);
            Program both{{Kind::split, {}, 1, static_cast<std::ptrdiff_t>(left.size()) + 2}};
            append(both, left);
            both.push_back({Kind::jump, {}, static_cast<std::ptrdiff_t>(right.size()) + 1, 1});
            append(both, right);
            left = std::move(both);
        }
        return left;
    }

    Program sequence(int depth) {
        Program all;
        while (more() && text_[at_] != '|' && text_[at_] != ')') append(all, repeated(atom(depth)));
        return all;
    }

    Program atom(int depth) {
        const char c = take();
        if (c == '(') return group(depth);
        if (c == '^') return {{Kind::begin, {}, 1, 1}};
        if (c == '$') return {{Kind::end, {}, 1, 1}};
        if (c == '*' || c == '+' || c == '?') refuse("something to repeat");
        if (c == '\\' && next_is('b')) {
            ++at_;
            return {{Kind::border, {}, 1, 1}};
        }
        Bytes set;
        if (c == '.')
            set.set();
        else if (c == '[')
            set = bracket();
        else if (c == '\\')
            set = escaped();
        else
            set.set(static_cast<unsigned char>(c));
        return {{Kind::byte, set, 1, 1}};
    }

    Program group(int depth) {
        if (next_is('?')) {
            ++at_;
            if (next_is('P')) {
                while (take() != '>') {
                }
            } else if (take() != ':') {
                refuse("groups without look-around and flags");
            }
        }
        Program inner = alternatives(depth + 1);
        if (!next_is(')')) refuse("a closing parenthesis");
        ++at_;
        return inner;
    }

    Bytes escaped() {
        const char c = take();
        Bytes set;
        for (int i = 0; i < 256; ++i) {
            const char byte = static_cast<char>(i);
            const bool digit = byte >= '0' && byte <= '9',
                       space = byte == ' ' || (byte >= '\t' && byte <= '\r');
            if ((c == 'd' || c == 'D') && digit == (c == 'd')) set.set(static_cast<std::size_t>(i));
            if ((c == 'w' || c == 'W') && is_word(byte) == (c == 'w')) set.set(static_cast<std::size_t>(i));
            if ((c == 's' || c == 'S') && space == (c == 's')) set.set(static_cast<std::size_t>(i));
        }
        if (set.any()) return set;
        if (is_word(c)) refuse("escapes among \\d \\w \\s \\b and \\ before a mark");
        set.set(static_cast<unsigned char>(c));
        return set;
    }

    Bytes bracket() {
        Bytes set;
        const bool negated = next_is('^');
        if (negated) ++at_;
        bool first = true;
        for (char c = take(); c != ']' || first; c = take(), first = false) {
            if (c == '\\') {
                set |= escaped();
                continue;
            }
            char last = c;
            if (next_is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
                ++at_;
                last = take();
                if (last == '\\' || last < c) refuse("a range that rises");
            }
            for (int i = static_cast<unsigned char>(c); i <= static_cast<unsigned char>(last); ++i)
                set.set(static_cast<std::size_t>(i));
        }
        return negated ? ~set : set;
    }

    /// A number of at most three digits, or -1.
    int count() {
        int value = -1;
        while (more() && text_[at_] >= '0' && text_[at_] <= '9') {
            value = std::max(value, 0) * 10 + (take() - '0');
            if (value > 999) refuse("at most 999 repeats");
        }
        return value;
    }

    /// Applies the quantifiers that follow. Lazy ones match the same whole names.
    Program repeated(Program one) {
        int least = 1, most = 1;  // most -1: no end
        if (next_is('*') || next_is('+') || next_is('?')) {
            const char c = take();
            least = c == '+' ? 1 : 0;
            most = c == '?' ? 1 : -1;
        } else if (next_is('{')) {
            ++at_;
            least = count();
            most = least;
            if (next_is(',')) {
                ++at_;
                most = count();
            }
            if (least < 0 || (most >= 0 && most < least) || take() != '}') refuse("{m}, {m,} or {m,n}");
        } else {
            return one;
        }
        if (next_is('?')) ++at_;
        if (next_is('*') || next_is('+')) refuse("one quantifier at a time");
        const auto size = static_cast<std::ptrdiff_t>(one.size());
        Program all;
        for (int i = 0; i < least; ++i) append(all, one);
        for (int i = least; i < std::max(most, least + (most < 0 ? 1 : 0)); ++i) {
            append(all, {{Kind::split, {}, 1, size + (most < 0 ? 2 : 1)}});
            append(all, one);
            if (most < 0) append(all, {{Kind::jump, {}, -(size + 1), 1}});
        }
        return all;
    }

    std::string text_, place_;
    std::size_t at_ = 0;
    Program program_;
};

}  // namespace moegrad
