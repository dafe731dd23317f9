#pragma once
// Tokenizer of a model's folder: tokenizer.json, its sections read by tokenizer_json_model.hpp and
// tokenizer_json_steps.hpp; else tokenizer.model; tokenizer_config.json names BOS and EOS, and for a
// tokenizer.model says which of them belong around a text.

#include <moegrad/core/format.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/memory_guard.hpp>
#include <moegrad/io/sentencepiece_library.hpp>
#include <moegrad/io/sentencepiece_model.hpp>
#include <moegrad/io/tokenizer.hpp>
#include <moegrad/io/tokenizer_json_model.hpp>
#include <moegrad/io/tokenizer_json_steps.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace moegrad {

/// What a tokenizer.json says; `place` names it in errors.
inline TokenizerParts parse_tokenizer_parts(const Json& json, const std::string& place) {
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
    if (const auto section = root.find("pre_tokenizer")) read_pre_tokenizer(*section, parts);
    read_model(root, parts);
    read_decoder(root.at("decoder"), parts.decoder);
    if (parts.bytes.active != parts.decoder.byte_level)
        root.at("decoder").fail_unsupported("ByteLevel as pre-tokenizer and as decoder, or as neither");
    if (const auto section = root.find("post_processor")) read_post_processor(*section, parts);
    for (const std::string_view key : {"truncation", "padding"})
        if (root.find_value(key)) parts.notes.push_back(moegrad::format("{}: {} is not applied", place, key));
    return parts;
}

inline Tokenizer parse_tokenizer(const Json& json, const std::string& place) {
    return Tokenizer(parse_tokenizer_parts(json, place));
}

/// A token of tokenizer_config.json, "x" or {"content": "x"}; -1 where it has none. One that the vocabulary does not have
/// is noted.
inline std::int32_t named_token(const JsonRef& config, std::string_view key, TokenizerParts& parts) {
    const auto value = config.find_value(key);
    if (!value) return Vocabulary::kNone;
    const std::string& token = value->value().members() ? value->at("content").string() : value->string();
    const std::int32_t id = parts.vocabulary.find(token);
    if (id == Vocabulary::kNone && !token.empty())
        parts.notes.push_back(
            moegrad::format("{}: \"{}\" is not in the vocabulary", value->place(), printable(token)));
    return id;
}

inline std::optional<Json> find_tokenizer_config(const std::string& folder, Links links) {
    const std::string path = folder + "/tokenizer_config.json";
    if (!file_exists(path)) return std::nullopt;
    return parse_json_file(path, {32, std::size_t{16} << 20, 1'000'000}, links);
}

/// BOS and EOS of tokenizer_config.json go before what the tokenizer itself calls so. What it puts around a text is up to
/// tokenizer.json where there is one.
inline void apply_tokenizer_config(const Json& json, const std::string& place, bool has_template,
                                   TokenizerParts& parts) {
    const JsonRef config(json, place, ErrorCode::format);
    if (const std::int32_t id = named_token(config, "bos_token", parts); id >= 0) parts.bos = id;
    if (const std::int32_t id = named_token(config, "eos_token", parts); id >= 0) parts.eos = id;
    const auto add_bos = config.find_value("add_bos_token"), add_eos = config.find_value("add_eos_token");
    if (has_template) {
        if (add_bos && add_bos->boolean() == parts.prefix.empty())
            parts.notes.push_back(moegrad::format("{}: {} there, so tokenizer.json decides", add_bos->place(),
                                                  parts.prefix.empty() ? "no BOS" : "a BOS"));
        return;
    }
    if (add_bos && !add_bos->boolean()) parts.prefix.clear();
    if (add_eos && add_eos->boolean() && parts.eos >= 0) parts.suffix = {parts.eos};
}

/// As Llama's tokenizers in transformers: BOS before, no EOS behind, unless tokenizer_config.json says otherwise.
inline TokenizerParts read_tokenizer_model(const std::string& path, Links links) {
    const MappedFile file(path, links);
    TokenizerParts parts = read_sentencepiece(file.text(), path);
    if (parts.bos >= 0) parts.prefix = {parts.bos};
    return parts;
}

inline Tokenizer load_tokenizer(const std::string& folder, Links links = usual_links()) {
    return memory_guard(folder, [&]() -> Tokenizer {
        const std::string json = folder + "/tokenizer.json", model = folder + "/tokenizer.model";
        const bool by_model = !file_exists(json) && file_exists(model);
        TokenizerParts parts =
            by_model
                ? read_tokenizer_model(model, links)
                : parse_tokenizer_parts(
                      parse_json_file(json, {16, std::size_t{256} << 20, std::size_t{8} << 20}, links), json);
        if (const auto config = find_tokenizer_config(folder, links))
            apply_tokenizer_config(*config, folder + "/tokenizer_config.json", !by_model, parts);
        return Tokenizer(std::move(parts));
    });
}

}  // namespace moegrad
