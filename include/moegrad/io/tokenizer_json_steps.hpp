#pragma once
// The sections of tokenizer.json around the model: normalizer, pre_tokenizer, decoder, post_processor. Each is read into
// TokenizerParts, or refused by the name of its type: a tokenizer that is nearly right gives ids that are silently wrong.

#include <moegrad/core/format.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/tokenizer.hpp>
#include <moegrad/io/unicode_normalize.hpp>
#include <moegrad/io/unicode_pcre2.hpp>
#include <moegrad/io/unicode_regex.hpp>
#include <moegrad/io/unicode_utf8proc.hpp>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

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
    } else if (type == "NFC") {
        require_nfc(step.place());
        normalizer.nfc = true;
    } else if (type == "Prepend" && !normalizer.prepend_mark) {
        require_mark(step.at("prepend"));
        normalizer.prepend_mark = true;
    } else if (type == "Replace" && !normalizer.replace_spaces) {
        require_replace(step, " ", kSpaceMark);
        normalizer.replace_spaces = true;
    } else {
        step.at("type").fail_unsupported("normalizers NFC, Prepend and Replace, the latter once each");
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

inline SplitStep read_split(const JsonRef& section) {
    SplitStep step;
    const JsonRef pattern = section.at("pattern");
    if (const auto regex = pattern.find("Regex"))
        step.regex = make_regex(regex->string(), regex->place());
    else
        step.literal = pattern.at("String").string();
    if (!step.regex && step.literal.empty()) pattern.at("String").fail("at least one character");
    const JsonRef behavior = section.at("behavior");
    constexpr std::pair<std::string_view, SplitBehavior> known[] = {
        {"Removed", SplitBehavior::removed},
        {"Isolated", SplitBehavior::isolated},
        {"MergedWithPrevious", SplitBehavior::merged_with_previous},
        {"MergedWithNext", SplitBehavior::merged_with_next},
        {"Contiguous", SplitBehavior::contiguous}};
    const auto found = std::find_if(std::begin(known), std::end(known),
                                    [&](const auto& one) { return one.first == behavior.string(); });
    if (found == std::end(known))
        behavior.fail_unsupported("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
    step.behavior = found->second;
    step.invert = json_flag(section, "invert", false);
    return step;
}

inline ByteLevelStep read_byte_level(const JsonRef& section) {
    ByteLevelStep step{true, json_flag(section, "add_prefix_space", true), {}};
    if (json_flag(section, "use_regex", true))
        step.cuts.push_back({make_regex(std::string(kGpt2Pattern), section.place()), {}});
    return step;
}

/// Split and Digits in any number and order, then ByteLevel or nothing; or Metaspace alone.
inline void read_pre_tokenizer(const JsonRef& section, TokenizerParts& parts) {
    if (section.is_null()) return;
    const std::string type = section_type(section);
    if (type == "Sequence") {
        const JsonRef steps = section.at("pretokenizers");
        for (std::size_t i = 0; i < steps.array().size(); ++i) read_pre_tokenizer(steps.item(i), parts);
        return;
    }
    if (parts.metaspace.active || parts.bytes.active)
        section.at("type").fail_unsupported("nothing after ByteLevel or Metaspace");
    if (type == "Metaspace") {
        if (!parts.splits.empty()) section.at("type").fail_unsupported("Metaspace alone");
        require_mark(section.at("replacement"));
        parts.metaspace = {true, read_prepend_scheme(section), json_flag(section, "split", true)};
    } else if (type == "Split") {
        parts.splits.push_back(read_split(section));
    } else if (type == "Digits") {
        const bool single = json_flag(section, "individual_digits", false);
        parts.splits.push_back({make_regex(single ? R"(\p{N})" : R"(\p{N}+)", section.place()), {}});
    } else if (type == "ByteLevel") {
        parts.bytes = read_byte_level(section);
    } else {
        section.at("type").fail_unsupported(
            "pre-tokenizers Split, Digits, ByteLevel, Metaspace and Sequence");
    }
}

inline void read_decoder_step(const JsonRef& step, DecoderOptions& decoder, bool& fused) {
    const std::string type = section_type(step);
    if (type == "Sequence") {
        const JsonRef steps = step.at("decoders");
        for (std::size_t i = 0; i < steps.array().size(); ++i)
            read_decoder_step(steps.item(i), decoder, fused);
        return;
    }
    if (decoder.byte_level) step.at("type").fail_unsupported("ByteLevel alone");
    if (type == "ByteLevel" && !fused && !decoder.byte_fallback &&
        decoder.marks == DecoderOptions::Marks::keep) {
        decoder.byte_level = true;
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
        step.at("type").fail_unsupported(
            "decoders ByteLevel, Replace, Metaspace, ByteFallback, Fuse and Strip");
    }
}

inline void read_decoder(const JsonRef& section, DecoderOptions& decoder) {
    if (section.is_null())
        section.fail_unsupported("a decoder (without one, pieces would be joined by spaces)");
    decoder.marks = DecoderOptions::Marks::keep;
    bool fused = false;
    read_decoder_step(section, decoder, fused);
}

/// Special tokens, the text "A" once, special tokens.
inline void read_template(const JsonRef& section, TokenizerParts& parts) {
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

/// ByteLevel here moves offsets only; TemplateProcessing once.
inline void read_post_processor(const JsonRef& section, TokenizerParts& parts) {
    if (section.is_null()) return;
    const std::string type = section_type(section);
    if (type == "Sequence") {
        const JsonRef steps = section.at("processors");
        for (std::size_t i = 0; i < steps.array().size(); ++i) read_post_processor(steps.item(i), parts);
    } else if (type == "TemplateProcessing" && parts.prefix.empty() && parts.suffix.empty()) {
        read_template(section, parts);
    } else if (type != "ByteLevel") {
        section.at("type").fail_unsupported("post-processors ByteLevel and, once, TemplateProcessing");
    }
}

}  // namespace moegrad
