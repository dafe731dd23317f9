#pragma once
// The tokenizer of the small world: every word of its closed vocabulary is one token ("▁Riga"), every other text falls
// back to bytes. Written as Hugging Face files: tokenizer.json is a BPE model with byte fallback that has no merges and
// takes whole words (ignore_merges); words are cut by the Metaspace pre-tokenizer.

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <moegrad/data/world_documents.hpp>
#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/json_writer.hpp>

namespace moegrad {

/// Every word of every text the world can write, each once. Does not depend on the world's options.
inline std::vector<std::string> world_vocabulary() {
    std::vector<std::string> words;
    std::set<std::string, std::less<>> seen;
    const auto take = [&](std::string_view word) {
        const bool slot = word.size() == 1 && word[0] >= 'A' && word[0] <= 'Z';
        if (!slot && seen.insert(std::string(word)).second) words.emplace_back(word);
    };
    const auto take_all = [&](const auto& items) {
        for (std::string_view item : items)
            for (std::string_view word : detail::split_words(item)) take(word);
    };
    take_all(world::kFirstNames);
    take_all(world::kLastNames);
    take_all(world::kTowns);
    take_all(world::kLands);
    take_all(world::kThings);
    take_all(world::kAnimals);
    for (int number = 0; number <= world::kLargestNumber; ++number) take(format("{}", number));
    take_all(world::kLetters);
    take_all(world::kBrackets);
    take_all(world::kGlue);
    for (const auto& relation : world::kRelationTable) {
        take_all(relation.sentence);
        take(relation.card);
    }
    take(world::kLandCard);
    take_all(world::kLandSentences);
    take_all(world::kTownSentences);
    take_all(world::kStories);
    for (const auto& relation : world::kRelationTable) take(relation.quiz);
    take_all(world::kQuizWords);
    return words;
}

namespace detail {

inline constexpr std::string_view kWordMark = "\u2581";

inline Json metaspace_json() {
    Json json = Json::object();
    json.add("type", "Metaspace");
    json.add("replacement", std::string(kWordMark));
    json.add("prepend_scheme", "always");
    json.add("split", true);
    return json;
}

inline Json bpe_json(Json vocabulary, Json::Array merges, bool ignore_merges) {
    Json model = Json::object();
    model.add("type", "BPE");
    model.add("dropout", Json());
    model.add("unk_token", "<unk>");
    model.add("continuing_subword_prefix", Json());
    model.add("end_of_word_suffix", Json());
    model.add("fuse_unk", true);
    model.add("byte_fallback", true);
    model.add("ignore_merges", ignore_merges);
    model.add("vocab", std::move(vocabulary));
    model.add("merges", Json(std::move(merges)));
    return model;
}

inline Json world_bpe_json(const std::vector<std::string>& specials) {
    Json vocabulary = Json::object();
    std::int64_t next = 0;
    for (const std::string& special : specials) vocabulary.add(special, next++);
    for (int byte = 0; byte < 256; ++byte) vocabulary.add(format("<0x{:02X}>", byte), next++);
    vocabulary.add(std::string(kWordMark), next++);
    for (const std::string& word : world_vocabulary()) vocabulary.add(std::string(kWordMark) + word, next++);
    return bpe_json(std::move(vocabulary), {}, true);
}

/// Marks to spaces, bytes to text, and the first space, which the encoder put there, away.
inline Json decoder_json() {
    const auto step = [](const char* type) {
        Json json = Json::object();
        json.add("type", type);
        return json;
    };
    Json pattern = Json::object();
    pattern.add("String", std::string(kWordMark));
    Json replace = step("Replace"), strip = step("Strip"), all = step("Sequence");
    replace.add("pattern", std::move(pattern));
    replace.add("content", " ");
    strip.add("content", " ");
    strip.add("start", 1);
    strip.add("stop", 0);
    all.add("decoders", Json(Json::Array{replace, step("ByteFallback"), step("Fuse"), strip}));
    return all;
}

/// <s> before a text.
inline Json template_json() {
    const auto piece = [](const char* kind, const char* id) {
        Json inner = Json::object(), outer = Json::object();
        inner.add("id", id);
        inner.add("type_id", 0);
        outer.add(kind, std::move(inner));
        return outer;
    };
    Json begin = Json::object(), specials = Json::object(), json = Json::object();
    begin.add("id", "<s>");
    begin.add("ids", Json(Json::Array{1}));
    begin.add("tokens", Json(Json::Array{"<s>"}));
    specials.add("<s>", std::move(begin));
    json.add("type", "TemplateProcessing");
    json.add("single", Json(Json::Array{piece("SpecialToken", "<s>"), piece("Sequence", "A")}));
    json.add("pair",
             Json(Json::Array{piece("SpecialToken", "<s>"), piece("Sequence", "A"), piece("Sequence", "B")}));
    json.add("special_tokens", std::move(specials));
    return json;
}

}  // namespace detail

/// A tokenizer.json around a BPE model with byte fallback whose words begin with a mark; `specials` have the ids from 0.
inline Json metaspace_tokenizer_json(Json model, const std::vector<std::string>& specials) {
    Json::Array added;
    for (std::size_t id = 0; id < specials.size(); ++id) {
        Json token = Json::object();
        token.add("id", static_cast<std::int64_t>(id));
        token.add("content", specials[id]);
        for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) token.add(flag, false);
        token.add("special", true);
        added.push_back(std::move(token));
    }
    Json json = Json::object();
    json.add("version", "1.0");
    json.add("truncation", Json());
    json.add("padding", Json());
    json.add("added_tokens", Json(std::move(added)));
    json.add("normalizer", Json());
    json.add("pre_tokenizer", detail::metaspace_json());
    json.add("post_processor", detail::template_json());
    json.add("decoder", detail::decoder_json());
    json.add("model", std::move(model));
    return json;
}

/// The whole of tokenizer.json. <unk> 0, <s> 1, </s> 2, bytes 3 to 258, then words.
inline Json world_tokenizer_json() {
    const std::vector<std::string> specials{"<unk>", "<s>", "</s>"};
    return metaspace_tokenizer_json(detail::world_bpe_json(specials), specials);
}

/// tokenizer.json, tokenizer_config.json and generation_config.json, of a tokenizer with the special tokens above.
inline void write_metaspace_tokenizer(const std::string& folder, const Json& tokenizer) {
    std::filesystem::create_directories(folder);
    const auto write = [&](const char* name, const Json& json) {
        write_file_atomically(folder + "/" + name, write_json(json, JsonStyle::indented));
    };
    write("tokenizer.json", tokenizer);
    Json config = Json::object(), generation = Json::object();
    config.add("add_bos_token", true);
    config.add("add_eos_token", false);
    config.add("bos_token", "<s>");
    config.add("eos_token", "</s>");
    config.add("unk_token", "<unk>");
    config.add("clean_up_tokenization_spaces", false);
    config.add("model_max_length", 1024);
    config.add("tokenizer_class", "PreTrainedTokenizerFast");
    write("tokenizer_config.json", config);
    generation.add("_from_model_config", true);
    generation.add("bos_token_id", 1);
    generation.add("eos_token_id", 2);
    write("generation_config.json", generation);
}

inline void write_world_tokenizer(const std::string& folder) {
    write_metaspace_tokenizer(folder, world_tokenizer_json());
}

}  // namespace moegrad
