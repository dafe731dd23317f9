#pragma once
// Pre-tokenizers that cut a text before BPE sees it: Split by a regular expression or a string, and what is made of it
// (Digits, the pattern of ByteLevel). Each step cuts the pieces of the step before.   tokenizers, pre_tokenizers/, and
// NormalizedString::split for the five behaviours.

#include <moegrad/io/unicode_regex.hpp>
#include <moegrad/io/utf8.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct SplitStep {
    std::shared_ptr<const UnicodeRegex> regex;  // or
    std::string literal;                        // looked for as it is, not empty
    SplitBehavior behavior = SplitBehavior::isolated;
    bool invert = false;  // what does not match counts as the match
};

/// [begin, end) of a text.
struct TextRange {
    std::size_t begin = 0, end = 0;
};

class TextCutter {
public:
    /// Appends the pieces of `text`, shifted by `offset`, without empty ones. `text` is valid UTF-8.
    static void cut(const SplitStep& step, std::string_view text, std::size_t offset,
                    std::vector<TextRange>& out) {
        if (text.empty()) return;
        std::vector<Stretch> stretches = all_of(step, text);
        switch (step.behavior) {
            case SplitBehavior::isolated: break;
            case SplitBehavior::removed:
                std::erase_if(stretches, [](const Stretch& one) { return one.match; });
                break;
            case SplitBehavior::contiguous: join(stretches, true); break;
            case SplitBehavior::merged_with_previous: join(stretches, false); break;
            case SplitBehavior::merged_with_next: join_backwards(stretches); break;
        }
        for (const Stretch& one : stretches)
            if (one.begin < one.end) out.push_back({offset + one.begin, offset + one.end});
    }

private:
    struct Stretch {
        std::size_t begin, end;
        bool match;
    };

    static std::vector<Stretch> all_of(const SplitStep& step, std::string_view text) {
        std::vector<Stretch> out;
        RegexBudget budget(text);
        std::size_t done = 0, from = 0;
        bool any = false;
        while (from <= text.size()) {
            const std::optional<RegexMatch> match = find(step, text, from, budget);
            if (!match) break;
            // An empty match right behind a match does not count; the search goes on one character later.
            if (match->begin == match->end && any && match->end == done) {
                from = done + (done < text.size() ? utf8_unit(text, done).length : 1);
                continue;
            }
            if (done != match->begin) out.push_back({done, match->begin, step.invert});
            out.push_back({match->begin, match->end, !step.invert});
            from = done = match->end;
            any = true;
        }
        if (done != text.size()) out.push_back({done, text.size(), step.invert});
        return out;
    }

    static std::optional<RegexMatch> find(const SplitStep& step, std::string_view text, std::size_t from,
                                          RegexBudget& budget) {
        if (step.regex) return step.regex->find(text, from, budget);
        const std::size_t at = text.find(step.literal, from);
        if (at == std::string_view::npos) return std::nullopt;
        return RegexMatch{at, at + step.literal.size()};
    }

    /// A match goes to the piece before it, the second of two matches in a row does not. `runs`: neighbours of a kind
    /// become one instead.
    static void join(std::vector<Stretch>& stretches, bool runs) {
        std::vector<Stretch> out;
        bool after_match = false;
        for (const Stretch& one : stretches) {
            const bool joins = runs ? one.match == after_match : one.match && !after_match;
            if (joins && !out.empty())
                out.back().end = one.end;
            else
                out.push_back(one);
            after_match = one.match;
        }
        stretches = std::move(out);
    }

    static void join_backwards(std::vector<Stretch>& stretches) {
        std::vector<Stretch> out;
        bool before_match = false;
        for (std::size_t i = stretches.size(); i-- > 0;) {
            const Stretch& one = stretches[i];
            if (one.match && !before_match && !out.empty())
                out.back().begin = one.begin;
            else
                out.push_back(one);
            before_match = one.match;
        }
        std::reverse(out.begin(), out.end());
        stretches = std::move(out);
    }
};

/// Bytes instead of characters from here on: always the last step.
struct ByteLevelStep {
    bool active = false;
    bool add_prefix_space = false;
    std::vector<SplitStep> cuts;  // none: pieces stay whole
};

/// What ByteLevel cuts by, if asked to.   openai/gpt-2, encoder.py
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

inline std::vector<TextRange> cut_text(const std::vector<SplitStep>& steps, std::string_view text) {
    std::vector<TextRange> pieces{{0, text.size()}}, next;
    for (const SplitStep& step : steps) {
        next.clear();
        for (const TextRange& piece : pieces)
            TextCutter::cut(step, text.substr(piece.begin, piece.end - piece.begin), piece.begin, next);
        pieces.swap(next);
    }
    return pieces;
}

}  // namespace moegrad
