#pragma once
// What byte-level tokenizers are published as when not as tokenizer.json, read into one form:
//   ranks    lines "base64-of-token rank" (tiktoken; Llama-3's tokenizer.model)
//   pieces   JSON {"piece": id} (encoder.json, vocab.json), or one piece a line, its id the number of the line from 0
//   merges   lines "left right", best first; a first line "#version..." is skipped
// Ranks give no merges: every cut of a token into two tokens is one, in the order of the whole, the left, the right rank
// (as the converter of transformers does).

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/tokenizer_bpe.hpp>
#include <moegrad/io/tokenizer_bytes.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace moegrad {

struct ByteLevelSource {
    std::vector<std::string> pieces;  // by id, in byte characters (tokenizer_bytes.hpp)
    std::vector<std::pair<std::string, std::string>> merges;
};

/// Lines without their ends; an empty last one does not count.
inline std::vector<std::string_view> text_lines(std::string_view text) {
    std::vector<std::string_view> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        if (line.ends_with('\r')) line.remove_suffix(1);
        lines.push_back(line);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

/// RFC 4648 with padding.
inline std::string decode_base64(std::string_view text, const std::string& place) {
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const auto fail = [&] { throw Error{ErrorCode::format, place, "base64", "\"" + printable(text) + "\""}; };
    if (text.empty() || text.size() % 4 != 0) fail();
    const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
    std::string out;
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const std::size_t digit = i < text.size() - padding ? digits.find(text[i]) : 0;
        if (digit == std::string_view::npos) fail();
        bits = (bits << 6) | static_cast<std::uint32_t>(digit);
        if (i % 4 != 3) continue;
        for (const int shift : {16, 8, 0}) out += static_cast<char>((bits >> shift) & 0xFF);
        bits = 0;
    }
    out.resize(out.size() - padding);
    return out;
}

inline ByteLevelSource read_ranks(std::string_view text, const std::string& place) {
    const std::vector<std::string_view> lines = text_lines(text);
    std::vector<std::string> tokens(lines.size());
    Vocabulary ranks;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const std::string where = moegrad::format("{}: line {}", place, i + 1);
        const std::size_t space = std::min(lines[i].find(' '), lines[i].size());
        const std::string_view number = lines[i].substr(std::min(space + 1, lines[i].size()));
        std::size_t rank = 0;
        const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rank);
        if (number.empty() || error != std::errc() || end != number.data() + number.size() ||
            rank >= lines.size())
            throw Error{ErrorCode::format, where,
                        moegrad::format("a token and a rank below {}", lines.size()),
                        "\"" + printable(lines[i]) + "\""};
        tokens[rank] = decode_base64(lines[i].substr(0, space), where);
        ranks.add(tokens[rank], static_cast<std::int32_t>(rank));
    }
    ranks.seal(place);
    ByteLevelSource source;
    using Cut = std::tuple<std::int32_t, std::int32_t>;
    for (const std::string& token : tokens) {
        std::vector<Cut> cuts;
        for (std::size_t at = 1; at < token.size(); ++at) {
            const Cut cut{ranks.find(std::string_view(token).substr(0, at)),
                          ranks.find(std::string_view(token).substr(at))};
            if (std::min(std::get<0>(cut), std::get<1>(cut)) >= 0) cuts.push_back(cut);
        }
        std::sort(cuts.begin(), cuts.end());
        for (const auto& [left, right] : cuts)
            source.merges.emplace_back(bytes_to_characters(tokens[static_cast<std::size_t>(left)]),
                                       bytes_to_characters(tokens[static_cast<std::size_t>(right)]));
        source.pieces.push_back(bytes_to_characters(token));
    }
    return source;
}

inline std::vector<std::string> read_pieces(std::string_view text, const std::string& place) {
    std::vector<std::string> pieces;
    if (!text.starts_with('{')) {
        for (const std::string_view line : text_lines(text)) pieces.emplace_back(line);
        return pieces;
    }
    const Json json = parse_json(text, place, {4, std::size_t{64} << 20, std::size_t{2} << 20});
    const JsonRef root(json, place, ErrorCode::format);
    pieces.resize(root.members().size());
    for (const JsonMember& member : root.members()) {
        const JsonRef id = root.member(member);
        std::string& piece =
            pieces[static_cast<std::size_t>(id.integer(0, static_cast<std::int64_t>(pieces.size()) - 1))];
        if (!piece.empty()) id.fail("an id of its own");
        piece = member.key;
    }
    return pieces;
}

inline std::vector<std::pair<std::string, std::string>> read_merge_lines(std::string_view text,
                                                                         const std::string& place) {
    std::vector<std::pair<std::string, std::string>> merges;
    const std::vector<std::string_view> lines = text_lines(text);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (i == 0 && lines[i].starts_with("#version")) continue;
        const std::size_t space = lines[i].find(' ');
        if (space == 0 || space == std::string_view::npos || space + 1 == lines[i].size() ||
            lines[i].find(' ', space + 1) != std::string_view::npos)
            throw Error{ErrorCode::format, moegrad::format("{}: line {}", place, i + 1),
                        "two pieces with one space", "\"" + printable(lines[i]) + "\""};
        merges.emplace_back(lines[i].substr(0, space), lines[i].substr(space + 1));
    }
    return merges;
}

/// A merge for each of the first `count` pieces that no merge makes, where the others leave two pieces of it: some copies
/// of merges.txt have lost their last line. Returns a line for each.
inline std::vector<std::string> complete_merges(ByteLevelSource& source, std::size_t count,
                                                const std::string& place) {
    Vocabulary pieces;
    for (std::size_t id = 0; id < count; ++id) pieces.add(source.pieces[id], static_cast<std::int32_t>(id));
    pieces.seal(place);
    std::vector<bool> made(count, false);
    std::vector<MergeTable::Merge> merges;
    for (const auto& [left, right] : source.merges) {
        const MergeTable::Merge merge{pieces.find(left), pieces.find(right), pieces.find(left + right),
                                      static_cast<std::uint32_t>(merges.size())};
        if (std::min({merge.left, merge.right, merge.joined}) < 0)
            throw Error{ErrorCode::format, place, "merges of pieces into a piece",
                        moegrad::format("\"{} {}\"", printable(left), printable(right))};
        made[static_cast<std::size_t>(merge.joined)] = true;
        merges.push_back(merge);
    }
    const BytePairModel model(std::move(pieces), std::move(merges), {});
    std::vector<std::string> notes;
    for (std::size_t id = 0; id < count; ++id) {
        std::vector<std::int32_t> ids;
        if (made[id]) continue;
        model.encode(source.pieces[id], ids);
        if (ids.size() == 1) continue;
        const bool two = ids.size() == 2 && std::min(ids[0], ids[1]) >= 0;
        if (two)
            source.merges.emplace_back(source.pieces[static_cast<std::size_t>(ids[0])],
                                       source.pieces[static_cast<std::size_t>(ids[1])]);
        notes.push_back(moegrad::format("token {} \"{}\": no merge makes it{}", id,
                                        printable(source.pieces[id]),
                                        two ? "; one added at the end" : ", and none was added"));
    }
    return notes;
}

}  // namespace moegrad
