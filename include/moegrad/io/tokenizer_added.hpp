#pragma once
// AddedTokens: finds the added tokens of a tokenizer.json in a text before the model sees it; leftmost, then longest.
// A token with lstrip or rstrip takes the white space beside it with it; one with single_word counts only where no
// word character touches it.   tokenizers, added_vocabulary.rs

#include <moegrad/io/unicode_regex.hpp>
#include <moegrad/io/utf8.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

struct AddedToken {
    std::string content;
    std::int32_t id = 0;
    bool special = false;  // left out when decoding without special tokens
    bool lstrip = false;
    bool rstrip = false;
    bool normalized = false;                   // looked for after normalisation instead of before
    std::shared_ptr<const UnicodeRegex> word;  // single_word: what the characters beside it must not match
};

/// A stretch of text: `id` >= 0 for an added token, else text for the model.
struct TextPart {
    std::size_t begin = 0, end = 0;
    std::int32_t id = -1;
};

class AddedTokens {
public:
    /// `pattern` is what to look for, the content or its normalised form.
    void add(const std::string& pattern, const AddedToken& token) {
        std::size_t node = 0;
        for (const char c : pattern) {
            const auto [child, is_new] = children_.try_emplace(std::pair(node, c), nodes_.size());
            if (is_new) nodes_.push_back(-1);
            node = child->second;
        }
        if (node == 0 || nodes_[node] >= 0) return;  // an equal pattern came first
        nodes_[node] = static_cast<std::int64_t>(tokens_.size());
        tokens_.push_back(token);
        starts_[static_cast<unsigned char>(pattern.front())] = true;
    }

    /// Cuts the whole text into parts, in order. A special token that is not asked for is text, and so is what it covers.
    std::vector<TextPart> split(std::string_view text, bool with_special = true) const {
        std::vector<TextPart> parts;
        std::size_t done = 0;
        for (std::size_t at = 0; at < text.size();) {
            const auto [token, length] = longest_at(text, at);
            if (!token) {
                ++at;
                continue;
            }
            std::size_t begin = at, end = at + length;
            // As in the reference, the search goes on behind the match itself: a token whose content begins with white
            // space is still found where rstrip has taken that space.
            at = end;
            if ((token->special && !with_special) || (token->word && in_a_word(*token, text, begin, end)))
                continue;
            if (token->lstrip) begin = white_space_before(text, begin, done);
            begin = std::max(begin, done);
            end = std::max(end, done);
            if (token->rstrip) end = white_space_after(text, end);
            if (done < begin) parts.push_back({done, begin, -1});
            parts.push_back({begin, end, token->id});
            done = end;
        }
        if (done < text.size()) parts.push_back({done, text.size(), -1});
        return parts;
    }

private:
    std::pair<const AddedToken*, std::size_t> longest_at(std::string_view text, std::size_t at) const {
        std::pair<const AddedToken*, std::size_t> best{nullptr, 0};
        if (!starts_[static_cast<unsigned char>(text[at])]) return best;
        std::size_t node = 0;
        for (std::size_t i = at; i < text.size(); ++i) {
            const auto child = children_.find(std::pair(node, text[i]));
            if (child == children_.end()) break;
            node = child->second;
            if (nodes_[node] >= 0) best = {&tokens_[static_cast<std::size_t>(nodes_[node])], i + 1 - at};
        }
        return best;
    }

    static bool in_a_word(const AddedToken& token, std::string_view text, std::size_t begin,
                          std::size_t end) {
        const auto touches = [&](std::size_t at) {
            const Utf8Unit unit = utf8_unit(text, at);
            if (unit.state != Utf8State::complete) return false;
            const std::string_view character = text.substr(at, unit.length);
            RegexBudget budget(character);
            return token.word->find(character, 0, budget).has_value();
        };
        return (end < text.size() && touches(end)) || (begin > 0 && touches(character_before(text, begin)));
    }

    /// Where the character that ends at `at` > 0 begins, if it is UTF-8.
    static std::size_t character_before(std::string_view text, std::size_t at) {
        std::size_t begin = at - 1;
        while (begin > 0 && at - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80)
            --begin;
        return begin;
    }

    static std::size_t white_space_after(std::string_view text, std::size_t at) {
        while (at < text.size()) {
            const Utf8Unit unit = utf8_unit(text, at);
            if (unit.state != Utf8State::complete || !is_white_space(unit.point)) break;
            at += unit.length;
        }
        return at;
    }

    static std::size_t white_space_before(std::string_view text, std::size_t at, std::size_t least) {
        while (at > least) {
            const std::size_t begin = character_before(text, at);
            const Utf8Unit unit = utf8_unit(text, begin);
            if (unit.state != Utf8State::complete || unit.length != at - begin || !is_white_space(unit.point))
                break;
            at = begin;
        }
        return at;
    }

    std::vector<AddedToken> tokens_;
    std::vector<std::int64_t> nodes_{-1};  // of the trie: index of the token that ends here, or -1
    std::map<std::pair<std::size_t, char>, std::size_t> children_;
    std::vector<bool> starts_ = std::vector<bool>(256, false);
};

}  // namespace moegrad
