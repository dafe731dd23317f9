#pragma once
// The sections "model" and "added_tokens" of tokenizer.json: vocabulary, merges, settings.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/tokenizer.hpp>
#include <moegrad/io/tokenizer_json_steps.hpp>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

/// Added tokens that the model does not have yet go into the vocabulary too.
inline void read_added_tokens(const JsonRef& section, const Vocabulary& model_pieces, TokenizerParts& parts) {
    if (section.is_null()) return;
    for (std::size_t i = 0; i < section.array().size(); ++i) {
        const JsonRef token = section.item(i);
        AddedToken added;
        // A word character as in the reference's regex engine, which counts joiners too.
        if (json_flag(token, "single_word", false))
            added.word = make_regex(R"([\w\u200C\u200D])", token.at("single_word").place());
        added.content = token.at("content").string();
        if (added.content.empty()) token.at("content").fail("at least one character");
        added.id =
            static_cast<std::int32_t>(token.at("id").integer(0, std::numeric_limits<std::int32_t>::max()));
        added.special = json_flag(token, "special", false);
        added.lstrip = json_flag(token, "lstrip", false);
        added.rstrip = json_flag(token, "rstrip", false);
        added.normalized = json_flag(token, "normalized", !added.special);
        const std::int32_t known = model_pieces.find(added.content);
        if (known != Vocabulary::kNone && known != added.id)
            token.at("id").fail(moegrad::format("{}, the id of that piece in the model", known));
        if (known == Vocabulary::kNone) parts.vocabulary.add(added.content, added.id);
        parts.added.push_back(std::move(added));
    }
}

/// The two halves of a merge, "a b" or ["a", "b"].
inline std::optional<std::pair<std::string, std::string>> merge_halves(const Json& merge) {
    if (const Json::Array* pair = merge.array()) {
        if (pair->size() != 2 || !(*pair)[0].string() || !(*pair)[1].string()) return std::nullopt;
        return std::pair(*(*pair)[0].string(), *(*pair)[1].string());
    }
    if (!merge.string()) return std::nullopt;
    const std::string& text = *merge.string();
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) return std::nullopt;
    return std::pair(text.substr(0, space), text.substr(space + 1));
}

/// A place is put together only for an error: there are hundreds of thousands of merges.
inline std::vector<MergeTable::Merge> read_merges(const JsonRef& section, const Vocabulary& pieces) {
    const Json::Array& items = section.array();
    std::vector<MergeTable::Merge> merges;
    merges.reserve(items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
        const auto halves = merge_halves(items[i]);
        if (!halves) section.item(i).fail("two pieces, as \"a b\" with one space or [\"a\", \"b\"]");
        const auto piece = [&](const std::string& text) {
            const std::int32_t id = pieces.find(text);
            if (id == Vocabulary::kNone)
                section.item(i).fail(moegrad::format("\"{}\" in the vocabulary", printable(text)));
            return id;
        };
        merges.push_back({piece(halves->first), piece(halves->second), piece(halves->first + halves->second),
                          static_cast<std::uint32_t>(i)});
    }
    return merges;
}

/// Settings of the model section that must have their plain value.
inline BytePairOptions read_model_options(const JsonRef& model) {
    if (section_type(model) != "BPE") model.at("type").fail_unsupported("BPE");
    if (const auto dropout = model.find_value("dropout"); dropout && dropout->number(0, 1) != 0)
        dropout->fail_unsupported("null");
    for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"})
        if (const auto affix = model.find_value(key); affix && !affix->string().empty())
            affix->fail_unsupported("null");
    constexpr std::string_view known[] = {"type",
                                          "dropout",
                                          "unk_token",
                                          "continuing_subword_prefix",
                                          "end_of_word_suffix",
                                          "fuse_unk",
                                          "byte_fallback",
                                          "ignore_merges",
                                          "vocab",
                                          "merges"};
    for (const JsonMember& member : model.members())
        if (std::find(std::begin(known), std::end(known), member.key) == std::end(known))
            model.member(member).fail_unsupported("a known key of a BPE model");
    BytePairOptions options;
    options.byte_fallback = json_flag(model, "byte_fallback", false);
    options.fuse_unknown = json_flag(model, "fuse_unk", false);
    options.ignore_merges = json_flag(model, "ignore_merges", false);
    return options;
}

inline void read_model(const JsonRef& root, TokenizerParts& parts) {
    const JsonRef model = root.at("model");
    BytePairOptions options = read_model_options(model);
    Vocabulary pieces;
    const JsonRef vocabulary = model.at("vocab");
    constexpr std::int64_t cap = std::numeric_limits<std::int32_t>::max();
    for (const JsonMember& member : vocabulary.members()) {
        const std::optional<std::int64_t> id = member.value.integer();
        if (!id || *id < 0 || *id > cap)
            vocabulary.member(member).fail(moegrad::format("an id in 0..{}", cap));
        pieces.add(member.key, static_cast<std::int32_t>(*id));
        parts.vocabulary.add(member.key, static_cast<std::int32_t>(*id));
    }
    pieces.seal(vocabulary.place());
    if (const auto added = root.find("added_tokens")) read_added_tokens(*added, pieces, parts);
    parts.vocabulary.seal(root.file());
    if (const auto unknown = model.find_value("unk_token")) {
        options.unknown_id = pieces.find(unknown->string());
        if (options.unknown_id == Vocabulary::kNone) unknown->fail("a piece of the vocabulary");
    }
    std::vector<MergeTable::Merge> merges = read_merges(model.at("merges"), pieces);
    parts.model = BytePairModel(std::move(pieces), std::move(merges), options);
    if (parts.bytes.active) {
        if (const int byte = parts.model.byte_without_character(); byte >= 0)
            model.at("vocab").fail(moegrad::format("a piece for each byte, 0x{:02X} too", byte),
                                   "without it, characters would vanish");
        return;
    }
    if (options.unknown_id == Vocabulary::kNone &&
        !(options.byte_fallback && parts.model.every_byte_has_a_piece()))
        model.fail("unk_token, or byte_fallback with a piece for each of the 256 bytes",
                   "without either, characters would vanish");
}

}  // namespace moegrad
