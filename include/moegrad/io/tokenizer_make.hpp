#pragma once
// Makes the tokenizer.json of a byte-level tokenizer that is published as ranks, or as pieces and merges; with the pattern,
// the special tokens and the settings of its kind:
//   llama-3   tokenizer.model (ranks)          Meta's tokenizer.py, 256 special tokens behind the ranks
//   gpt-2     encoder.json, vocab.bpe          openai/gpt-2
//   qwen2     vocab.json or .txt, merges.txt   Qwen 2, 2.5 and 3

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/tokenizer_added.hpp>
#include <moegrad/io/tokenizer_sources.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// A tokenizer.json, and the few lines of tokenizer_config.json that it needs.
struct MadeTokenizer {
    Json json, config;
    std::vector<std::string> notes;
};

class TokenizerMaker {
public:
    explicit TokenizerMaker(ByteLevelSource source) : source_(std::move(source)) {}

    void special(const std::string& content, bool is_special = true) {
        Json token = Json::object();
        token.add("id", next_++);
        token.add("content", content);
        for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) token.add(flag, false);
        token.add("special", is_special);
        added_.push_back(std::move(token));
    }
    /// The id of the next special token.
    void specials_from(std::size_t id) { next_ = static_cast<std::int64_t>(id); }

    std::string_view pattern;    // empty: ByteLevel's own
    std::string bos;             // put before every text
    std::size_t model_size = 0;  // pieces of the model; what is behind them is added
    bool nfc = false, ignore_merges = false;

    Json json() const {
        Json root = Json::object();
        root.add("version", "1.0");
        root.add("truncation", Json());
        root.add("padding", Json());
        root.add("added_tokens", Json(added_));
        root.add("normalizer", nfc ? typed("NFC") : Json());
        root.add("pre_tokenizer", pre_tokenizer());
        root.add("post_processor", bos.empty() ? byte_level(false) : post_processor());
        root.add("decoder", byte_level(true));
        root.add("model", model());
        return root;
    }

private:
    static Json typed(const char* type) {
        Json json = Json::object();
        json.add("type", type);
        return json;
    }
    static Json byte_level(bool use_regex) {
        Json json = typed("ByteLevel");
        json.add("add_prefix_space", false);
        json.add("trim_offsets", true);
        json.add("use_regex", use_regex);
        return json;
    }

    Json pre_tokenizer() const {
        if (pattern.empty()) return byte_level(true);
        Json regex = Json::object(), split = typed("Split"), all = typed("Sequence");
        regex.add("Regex", std::string(pattern));
        split.add("pattern", std::move(regex));
        split.add("behavior", "Isolated");
        split.add("invert", false);
        all.add("pretokenizers", Json(Json::Array{split, byte_level(false)}));
        return all;
    }

    Json post_processor() const {
        const auto part = [](const char* kind, const std::string& id) {
            Json inner = Json::object(), outer = Json::object();
            inner.add("id", id);
            inner.add("type_id", 0);
            outer.add(kind, std::move(inner));
            return outer;
        };
        std::int64_t id = 0;
        for (const Json& token : added_)
            if (*token.find("content")->string() == bos) id = *token.find("id")->integer();
        Json begin = Json::object(), specials = Json::object(), text = typed("TemplateProcessing");
        begin.add("id", bos);
        begin.add("ids", Json(Json::Array{id}));
        begin.add("tokens", Json(Json::Array{bos}));
        specials.add(bos, std::move(begin));
        text.add("single", Json(Json::Array{part("SpecialToken", bos), part("Sequence", "A")}));
        text.add("pair", Json(Json::Array{part("SpecialToken", bos), part("Sequence", "A"),
                                          part("SpecialToken", bos), part("Sequence", "B")}));
        text.add("special_tokens", std::move(specials));
        Json all = typed("Sequence");
        all.add("processors", Json(Json::Array{byte_level(false), text}));
        return all;
    }

    Json model() const {
        Json::Members vocabulary;
        for (std::size_t id = 0; id < model_size; ++id)
            vocabulary.push_back({source_.pieces[id], static_cast<std::int64_t>(id)});
        Json::Array merges;
        for (const auto& [left, right] : source_.merges) merges.push_back(Json(Json::Array{left, right}));
        Json json = typed("BPE");
        for (const char* key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"})
            json.add(key, Json());
        json.add("fuse_unk", false);
        json.add("byte_fallback", false);
        json.add("ignore_merges", ignore_merges);
        json.add("vocab", Json::from_members(std::move(vocabulary), "vocabulary"));
        json.add("merges", Json(std::move(merges)));
        return json;
    }

    ByteLevelSource source_;
    Json::Array added_;
    std::int64_t next_ = 0;
};

inline Json tokenizer_config(const std::string& bos, const std::string& eos, bool add_bos) {
    Json json = Json::object();
    json.add("add_bos_token", add_bos);
    json.add("bos_token", bos.empty() ? Json() : Json(bos));
    json.add("clean_up_tokenization_spaces", false);
    json.add("eos_token", eos);
    json.add("tokenizer_class", "PreTrainedTokenizerFast");
    return json;
}

inline MadeTokenizer make_llama3(std::string_view ranks, const std::string& place) {
    ByteLevelSource source = read_ranks(ranks, place);
    const std::size_t size = source.pieces.size();
    TokenizerMaker maker(std::move(source));
    maker.specials_from(size);
    const auto reserved = [](int i) { return moegrad::format("<|reserved_special_token_{}|>", i); };
    for (const char* name : {"<|begin_of_text|>", "<|end_of_text|>"}) maker.special(name);
    for (int i = 0; i < 4; ++i) maker.special(reserved(i));
    for (const char* name : {"<|start_header_id|>", "<|end_header_id|>"}) maker.special(name);
    maker.special(reserved(4));
    maker.special("<|eot_id|>");
    for (int i = 5; i < 251; ++i) maker.special(reserved(i));
    maker.pattern = kLlama3Pattern;
    maker.bos = "<|begin_of_text|>";
    maker.model_size = size;
    maker.ignore_merges = true;
    return {maker.json(), tokenizer_config("<|begin_of_text|>", "<|end_of_text|>", true), {}};
}

inline MadeTokenizer make_gpt2(std::string_view pieces, std::string_view merges, const std::string& place) {
    ByteLevelSource source{read_pieces(pieces, place), read_merge_lines(merges, place)};
    const std::size_t size = source.pieces.size();
    const std::string end = "<|endoftext|>";
    if (source.pieces.empty() || source.pieces.back() != end)
        throw Error{ErrorCode::format, place, "<|endoftext|> as the last piece",
                    source.pieces.empty() ? "no piece" : "\"" + printable(source.pieces.back()) + "\""};
    std::vector<std::string> notes = complete_merges(source, size - 1, place);
    TokenizerMaker maker(std::move(source));
    maker.specials_from(size - 1);
    maker.special(end);
    maker.model_size = size;
    return {maker.json(), tokenizer_config(end, end, false), std::move(notes)};
}

/// Published with the special tokens behind the pieces (a list of lines, with fillers "[PAD...") or without (vocab.json:
/// then the three of Qwen 2).
inline MadeTokenizer make_qwen2(std::string_view pieces, std::string_view merges, const std::string& place) {
    ByteLevelSource source{read_pieces(pieces, place), read_merge_lines(merges, place)};
    const std::string end = "<|endoftext|>";
    const auto first = std::find(source.pieces.begin(), source.pieces.end(), end);
    std::vector<std::string> special(first, source.pieces.end());
    source.pieces.erase(first, source.pieces.end());
    std::erase_if(special, [](const std::string& piece) { return piece.starts_with("[PAD"); });
    if (special.empty()) special = {end, "<|im_start|>", "<|im_end|>"};
    const std::size_t size = source.pieces.size();
    std::vector<std::string> notes = complete_merges(source, size, place);
    TokenizerMaker maker(std::move(source));
    maker.specials_from(size);
    // The first fourteen end with <|video_pad|>; the others are text of a conversation and survive decoding.
    for (std::size_t i = 0; i < special.size(); ++i) maker.special(special[i], i < 14);
    maker.pattern = kQwen2Pattern;
    maker.nfc = true;
    maker.model_size = size;
    return {maker.json(), tokenizer_config("", end, false), std::move(notes)};
}

/// `kind`: llama-3 of one file, gpt-2 and qwen2 of two.
inline MadeTokenizer make_tokenizer(const std::string& kind, const std::vector<std::string>& files) {
    const std::size_t wanted = kind == "llama-3" ? 1 : 2;
    if (kind != "llama-3" && kind != "gpt-2" && kind != "qwen2")
        throw Error{ErrorCode::config, "--kind", "llama-3, gpt-2 or qwen2", kind};
    if (files.size() != wanted)
        throw Error{ErrorCode::config, "--from",
                    wanted == 1 ? "the file of ranks" : "two files: pieces, merges",
                    moegrad::format("{} files", files.size())};
    const MappedFile first(files.front());
    if (wanted == 1) return make_llama3(first.text(), files.front());
    const MappedFile second(files.back());
    const std::string place = files.front() + ", " + files.back();
    return kind == "gpt-2" ? make_gpt2(first.text(), second.text(), place)
                           : make_qwen2(first.text(), second.text(), place);
}

/// An old tokenizer.json stays.
inline void require_no_tokenizer(const std::string& folder) {
    const std::string path = folder + "/tokenizer.json";
    if (!file_exists(path)) return;
    throw Error{ErrorCode::file, path, "a folder without tokenizer.json", "one that has it",
                "remove it, or name another folder"};
}

/// tokenizer.json, and tokenizer_config.json unless the folder has one.
inline void write_tokenizer(const MadeTokenizer& made, const std::string& folder) {
    const std::string path = folder + "/tokenizer.json", config = folder + "/tokenizer_config.json";
    require_no_tokenizer(folder);
    write_file_atomically(path, write_json(made.json, JsonStyle::compact));
    if (!file_exists(config)) write_file_atomically(config, write_json(made.config, JsonStyle::indented));
}

}  // namespace moegrad
