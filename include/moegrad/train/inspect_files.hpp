#pragma once
// inspect of what lies around models: tokenizers, JSONL data. inspect_run.hpp: run folders.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <moegrad/io/json_lines.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/train/inspect_model.hpp>

namespace moegrad {

namespace detail {

inline std::string folder_of(const std::string& path) {
    const std::string parent = std::filesystem::path(path).parent_path().string();
    return parent.empty() ? "." : parent;
}

/// {"type": ".."} of a part of tokenizer.json, or of the parts of a Sequence.
inline std::string part_types(const JsonRef& root, const char* key) {
    const auto part = root.find_value(key);
    if (!part) return "none";
    const auto type_of = [](const Json& value) {
        const Json* type = value.find("type");
        return type && type->string() ? printable(*type->string()) : std::string("?");
    };
    std::string out = type_of(part->value());
    for (const char* list : {"pretokenizers", "normalizers", "decoders", "processors"}) {
        const Json* items = part->value().find(list);
        if (!items || !items->array()) continue;
        std::string inner;
        for (const Json& item : *items->array()) inner += (inner.empty() ? "" : ", ") + type_of(item);
        out += " (" + inner + ")";
    }
    return out;
}

inline std::string token_text(const Tokenizer& tokenizer, std::int32_t id) {
    return id < 0 ? "none" : moegrad::format("{} {}", id, printable(tokenizer.id_to_piece(id)));
}

/// The keys of a record name its form, as `data.format` takes it.
inline std::string record_form(const std::map<std::string, std::int64_t>& keys) {
    const auto has = [&](const char* key) { return keys.contains(key); };
    if (has("messages") || has("conversations")) return "messages";
    if (has("question") && has("choices")) return "choice";
    if (has("instruction") && has("output")) return "alpaca";
    if (has("completion")) return "completion";
    if (has("text")) return "text";
    return "unknown";
}

}  // namespace detail

/// A folder with tokenizer.json, or the file.
inline Inspection inspect_tokenizer(const std::string& folder) {
    Inspection out("tokenizer", folder);
    if (!file_exists(folder + "/tokenizer.json")) {
        out.notes.push_back("tokenizer.model alone: its parts are not listed");
        return out;
    }
    const std::string path = folder + "/tokenizer.json";
    const Json json = parse_json_file(path);
    const JsonRef root(json, path);
    const auto model = root.find_value("model");
    if (model) {
        const Json* type = model->value().find("type");
        out.add("model", type && type->string() ? printable(*type->string()) : "BPE");
        const Json* fallback = model->value().find("byte_fallback");
        if (fallback && fallback->boolean()) out.add("byte_fallback", *fallback->boolean());
        for (const char* list : {"vocab", "merges"}) {
            const Json* items = model->value().find(list);
            if (items && items->members()) out.add(list, static_cast<std::int64_t>(items->members()->size()));
            if (items && items->array()) out.add(list, static_cast<std::int64_t>(items->array()->size()));
        }
    }
    for (const char* part : {"normalizer", "pre_tokenizer", "post_processor", "decoder"})
        out.add(part, detail::part_types(root, part));
    for (const char* ignored : {"truncation", "padding"}) {
        if (root.find_value(ignored)) out.notes.push_back(std::string(ignored) + " of the file is ignored");
    }
    try {
        const Tokenizer tokenizer = load_tokenizer(folder);
        out.add("tokens", static_cast<std::int64_t>(tokenizer.vocab_size()));
        out.add("bos", detail::token_text(tokenizer, tokenizer.bos_id()));
        out.add("eos", detail::token_text(tokenizer, tokenizer.eos_id()));
    } catch (const Error& error) {
        out.warnings.push_back("does not load: " + detail::first_lines(error));
    }
    return out;
}

/// Records, their keys and lengths; stops at the first line that is no record.
inline Inspection inspect_json_lines(const std::string& path) {
    Inspection out("JSONL data", path);
    std::map<std::string, std::int64_t> keys;
    std::int64_t records = 0;
    try {
        read_json_lines(path, [&](const JsonRef& record) {
            ++records;
            for (const auto& member : record.members()) {
                if (keys.size() < 1000 || keys.contains(member.key)) ++keys[member.key];
            }
        });
    } catch (const Error& error) {
        out.warnings.push_back(detail::first_lines(error));
    }
    const MappedFile file(path);
    std::size_t longest = 0;
    for (std::string_view rest = file.text(); !rest.empty();) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        longest = std::max(longest, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    out.add("bytes", static_cast<std::int64_t>(file.size())).add("records", records);
    out.add("longest_line_bytes", static_cast<std::int64_t>(longest));
    out.add("format", detail::record_form(keys));
    Json::Array rows;
    for (const auto& [key, count] : keys) {
        Json row = Json::object();
        row.add("key", printable(key)).add("records", count);
        if (rows.size() < detail::kMostRows) rows.push_back(std::move(row));
    }
    if (!rows.empty()) out.add("keys", Json(std::move(rows)));
    for (const auto& [key, count] : keys) {
        if (count == records) continue;
        out.notes.push_back(
            moegrad::format("key {} is missing in {} records", printable(key), records - count));
        if (out.notes.size() >= 8) break;
    }
    return out;
}

}  // namespace moegrad
