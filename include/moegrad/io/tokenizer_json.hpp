#pragma once
// tokenizer.json to Tokenizer. Each section is read into TokenizerParts, or refused by the name of its type: a tokenizer
// that is nearly right gives ids that are silently wrong. A new kind (byte-level BPE, say) is a new branch here and a
// field in TokenizerParts.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/tokenizer.hpp>

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

inline bool json_flag(const JsonRef& object, std::string_view key, bool otherwise) {
    const auto value = object.find_value(key);
    return value ? value->boolean() : otherwise;
}

inline std::string section_type(const JsonRef& section) {
    return section.at("type").string();
}

/// {"type": "Replace", "pattern": {"String": from}, "content": to}
inline void require_replace(const JsonRef& step, std::string_view from, std::string_view to) {
    const auto pattern = step.at("pattern").find("String");
    if (!pattern) step.at("pattern").fail_unsupported("a String pattern");
    if (pattern->string() != from) pattern->fail_unsupported(moegrad::format("\"{}\"", from));
    if (const JsonRef content = step.at("content"); content.string() != to)
        content.fail_unsupported(moegrad::format("\"{}\"", to));
}

inline void require_mark(const JsonRef& value) {
    if (value.string() != kSpaceMark) value.fail_unsupported("\"\u2581\" (U+2581)");
}

inline void read_normalizer(const JsonRef& step, Normalizer& normalizer) {
    if (step.is_null()) return;
    const std::string type = section_type(step);
    if (type == "Sequence") {
        const JsonRef steps = step.at("normalizers");
        for (std::size_t i = 0; i < steps.array().size(); ++i) read_normalizer(steps.item(i), normalizer);
    } else if (type == "Prepend" && !normalizer.prepend_mark) {
        require_mark(step.at("prepend"));
        normalizer.prepend_mark = true;
    } else if (type == "Replace" && !normalizer.replace_spaces) {
        require_replace(step, " ", kSpaceMark);
        normalizer.replace_spaces = true;
    } else {
        step.at("type").fail_unsupported("normalizers Prepend and Replace, each once");
    }
}

/// prepend_scheme, or the older add_prefix_space.
inline PrependScheme read_prepend_scheme(const JsonRef& section) {
    const bool prefix_space = json_flag(section, "add_prefix_space", true);
    const auto scheme = section.find_value("prepend_scheme");
    if (!scheme) return prefix_space ? PrependScheme::always : PrependScheme::never;
    const std::string& word = scheme->string();
    if (word != "first" && word != "always" && word != "never") scheme->fail("first, always or never");
    if (!prefix_space && word != "never") scheme->fail("never, as add_prefix_space is false");
    return word == "first"    ? PrependScheme::first
           : word == "always" ? PrependScheme::always
                              : PrependScheme::never;
}

inline void read_pre_tokenizer(const JsonRef& section, Metaspace& metaspace) {
    if (section.is_null()) return;
    if (section_type(section) != "Metaspace")
        section.at("type").fail_unsupported(
            "no pre-tokenizer, or Metaspace (the byte-fallback kind of tokenizer)");
    require_mark(section.at("replacement"));
    metaspace = {true, read_prepend_scheme(section), json_flag(section, "split", true)};
}

inline void read_decoder_step(const JsonRef& step, DecoderOptions& decoder, bool& fused) {
    const std::string type = section_type(step);
    if (type == "Sequence") {
        const JsonRef steps = step.at("decoders");
        for (std::size_t i = 0; i < steps.array().size(); ++i)
            read_decoder_step(steps.item(i), decoder, fused);
        return;
    }
    // Any other order would mean something else: after Fuse there is one piece, and bytes come from whole pieces.
    const bool marks_done = decoder.marks == DecoderOptions::Marks::to_space;
    const bool in_order = type == "Strip"          ? fused && decoder.strip_leading == 0
                          : type == "Fuse"         ? !fused
                          : type == "ByteFallback" ? !fused && !decoder.byte_fallback
                                                   : !fused && !marks_done && !decoder.byte_fallback;
    if (!in_order)
        step.at("type").fail_unsupported("decoders in the order Replace, ByteFallback, Fuse, Strip");
    if (type == "Replace") {
        require_replace(step, kSpaceMark, " ");
        decoder.marks = DecoderOptions::Marks::to_space;
    } else if (type == "Metaspace") {
        require_mark(step.at("replacement"));
        decoder.marks = DecoderOptions::Marks::to_space;
        decoder.drop_first_marks = read_prepend_scheme(step) != PrependScheme::never;
    } else if (type == "ByteFallback") {
        decoder.byte_fallback = true;
    } else if (type == "Fuse") {
        fused = true;
    } else if (type == "Strip") {
        if (step.at("content").string() != " ") step.at("content").fail_unsupported("\" \"");
        if (step.at("stop").integer(0, 1000) != 0) step.at("stop").fail_unsupported("0");
        decoder.strip_leading = static_cast<std::size_t>(step.at("start").integer(0, 1000));
    } else {
        step.at("type").fail_unsupported("decoders Replace, Metaspace, ByteFallback, Fuse and Strip");
    }
}

inline void read_decoder(const JsonRef& section, DecoderOptions& decoder) {
    if (section.is_null())
        section.fail_unsupported("a decoder (without one, pieces would be joined by spaces)");
    decoder.marks = DecoderOptions::Marks::keep;
    bool fused = false;
    read_decoder_step(section, decoder, fused);
}

/// TemplateProcessing: special tokens, the text "A" once, special tokens.
inline void read_post_processor(const JsonRef& section, TokenizerParts& parts) {
    if (section.is_null()) return;
    if (section_type(section) != "TemplateProcessing")
        section.at("type").fail_unsupported("no post-processor, or TemplateProcessing");
    const JsonRef single = section.at("single");
    bool text_seen = false;
    for (std::size_t i = 0; i < single.array().size(); ++i) {
        const JsonRef step = single.item(i);
        if (const auto sequence = step.find("Sequence")) {
            if (text_seen || sequence->at("id").string() != "A") sequence->fail("the text A, once");
            text_seen = true;
            continue;
        }
        const std::string& token = step.at("SpecialToken").at("id").string();
        const JsonRef ids = section.at("special_tokens").at(token).at("ids");
        for (std::size_t j = 0; j < ids.array().size(); ++j) {
            const auto id =
                static_cast<std::int32_t>(ids.item(j).integer(0, std::numeric_limits<std::int32_t>::max()));
            if (!parts.vocabulary.has(id)) ids.item(j).fail("an id of the vocabulary");
            (text_seen ? parts.suffix : parts.prefix).push_back(id);
        }
    }
    if (!text_seen) single.fail("a place for the text A");
}

/// Added tokens that the model does not have yet go into the vocabulary too.
inline void read_added_tokens(const JsonRef& section, const Vocabulary& model_pieces, TokenizerParts& parts) {
    if (section.is_null()) return;
    for (std::size_t i = 0; i < section.array().size(); ++i) {
        const JsonRef token = section.item(i);
        if (json_flag(token, "single_word", false)) token.at("single_word").fail_unsupported("false");
        AddedToken added;
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
    if (options.unknown_id == Vocabulary::kNone &&
        !(options.byte_fallback && parts.model.every_byte_has_a_piece()))
        model.fail("unk_token, or byte_fallback with a piece for each of the 256 bytes",
                   "without either, characters would vanish");
}

inline Tokenizer parse_tokenizer(const Json& json, const std::string& place) {
    const JsonRef root(json, place, ErrorCode::format);
    constexpr std::string_view known[] = {"version",        "truncation", "padding",
                                          "added_tokens",   "normalizer", "pre_tokenizer",
                                          "post_processor", "decoder",    "model"};
    for (const JsonMember& member : root.members())
        if (std::find(std::begin(known), std::end(known), member.key) == std::end(known))
            root.member(member).fail_unsupported("a known section of tokenizer.json");
    TokenizerParts parts;
    // The kind shows in these sections, so they are looked at before a large vocabulary is.
    if (const auto section = root.find("normalizer")) read_normalizer(*section, parts.normalizer);
    if (const auto section = root.find("pre_tokenizer")) read_pre_tokenizer(*section, parts.metaspace);
    read_model(root, parts);
    read_decoder(root.at("decoder"), parts.decoder);
    if (const auto section = root.find("post_processor")) read_post_processor(*section, parts);
    for (const std::string_view key : {"truncation", "padding"})
        if (root.find_value(key)) parts.notes.push_back(moegrad::format("{}: {} is not applied", place, key));
    return Tokenizer(std::move(parts));
}

inline Tokenizer load_tokenizer(const std::string& folder, Links links = Links::follow) {
    const std::string path = folder + "/tokenizer.json";
    return parse_tokenizer(parse_json_file(path, {16, std::size_t{256} << 20, std::size_t{8} << 20}, links),
                           path);
}

}  // namespace moegrad
