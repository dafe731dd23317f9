#pragma once
// Where each token of a text lies in it, in bytes: what ties token counts to words that are facts.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moegrad/core/view.hpp>
#include <moegrad/io/tokenizer.hpp>

namespace moegrad {

using ByteRange = std::pair<Index, Index>;  // [begin, end)

/// The stretch of `text` that every id stands for; special tokens have an empty one. A character that is spelled in byte
/// pieces belongs to all of them. Nothing when the ids do not decode to `text` (a tokenizer that changes what it reads).
inline std::optional<std::vector<ByteRange>> token_ranges(const Tokenizer& tokenizer,
                                                          std::span<const std::int32_t> ids,
                                                          std::string_view text) {
    Detokenizer detokenizer(tokenizer);
    std::vector<ByteRange> ranges;
    std::string decoded;
    std::size_t open = 0;  // ids from here on wait for the end of a character
    const auto close = [&](const std::string& piece) {
        const Index begin = static_cast<Index>(decoded.size());
        decoded += piece;
        for (; open < ranges.size(); ++open) ranges[open] = {begin, static_cast<Index>(decoded.size())};
    };
    for (const std::int32_t id : ids) {
        ranges.emplace_back(decoded.size(), decoded.size());
        if (tokenizer.is_special(id)) {
            if (open + 1 == ranges.size()) ++open;
            continue;
        }
        if (const std::string piece = detokenizer.push(id); !piece.empty()) close(piece);
        // A piece that decodes to nothing because its space was stripped waits for no one.
        else if (!detokenizer.waiting())
            open = ranges.size();
    }
    close(detokenizer.finish());
    if (decoded != text) return std::nullopt;
    return ranges;
}

/// Whether any byte of a token lies in one of the ranges.
inline bool overlaps(ByteRange token, std::span<const ByteRange> ranges) {
    for (const ByteRange& range : ranges) {
        if (token.first < range.second && range.first < token.second) return true;
    }
    return false;
}

}  // namespace moegrad
