#pragma once
// What the fuzzer calls for tokenizers and training data.

#include <fuzz/require.hpp>
#include <io/tokenizer_support.hpp>
#include <moegrad/data/training_samples.hpp>
#include <moegrad/io/tokenizer_json.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace fuzz {

using namespace moegrad;

/// A tokenizer.json of a few hundred bytes, so that mutations hit something.
inline io_test::TokenizerText tiny_tokenizer_text() {
    io_test::TokenizerText text;
    text.model_options = R"("type":"BPE","unk_token":"<unk>","fuse_unk":true)";
    text.vocab = R"({"<unk>":0,"<s>":1,"</s>":2,"▁":3,"a":4,"b":5,"ab":6,"▁a":7,"é":8})";
    text.merges = R"(["a b","▁ a"])";
    return text;
}

inline const Tokenizer& byte_fallback_tokenizer() {
    static const Tokenizer tokenizer = io_test::TokenizerText().build();
    return tokenizer;
}

/// Ids are tokens; without special tokens none is found; a text that is UTF-8 comes back where every byte has a piece
/// (U+2581 comes back as the space that it stands for).
inline void encode_decode(const Tokenizer& tokenizer, std::string_view text, bool comes_back) {
    for (const bool split : {false, true}) {
        const auto ids = tokenizer.encode(text, {.add_special = split, .parse_special = split});
        for (const std::int32_t id : ids) {
            require(id >= 0 && static_cast<std::size_t>(id) < tokenizer.vocab_size(),
                    "an id of the vocabulary");
            static_cast<void>(tokenizer.id_to_piece(id));
            require(split || !tokenizer.is_special(id) || tokenizer.id_to_piece(id) == "<unk>",
                    "no special token in a text that is only text");
        }
        const std::string decoded = tokenizer.decode(ids, DecodeSpecial::keep);
        if (comes_back && !split && is_utf8(text) && text.find(kSpaceMark) == text.npos)
            require(decoded == text, "encode, decode: the same text");
    }
}

/// A text for the byte-fallback tokenizer.
inline void encode(std::string_view input) {
    encode_decode(byte_fallback_tokenizer(), input.substr(0, 64), true);
}

/// A tokenizer.json; accepted, it encodes a text and decodes it.
inline void tokenizer(std::string_view input) {
    try {
        const Tokenizer parsed = parse_tokenizer(parse_json(input, "fuzz", {16, 1u << 20, 10'000}), "fuzz");
        encode_decode(parsed, "a b\xC3\xA9 \xFF<s>ab  b", false);
    } catch (const Error&) {
    }
}

/// The first byte chooses the format, 'a' for auto; the rest is the file.
inline void jsonl(std::string_view input) {
    constexpr const char* formats[] = {"",         "text", "completion", "alpaca",
                                       "instruct", "qa",   "choice",     "messages"};
    constexpr const char* templates[] = {"llama-2", "mistral-v0.1", "mistral-v0.2", "mistral-v1"};
    if (input.empty()) return;
    const auto choice = static_cast<unsigned char>(input.front());
    input.remove_prefix(1);
    DataOptions options;
    options.chat_template = templates[choice / 8 % 4];
    options.overlong = "cut";
    options.unsupervised = "drop";
    options.max_length = 64;
    try {
        detail::RecordReader reader("fuzz.jsonl", byte_fallback_tokenizer(), options);
        const TrainingRecords all = reader.read(input, formats[choice % 8]);
        detail::require_new_ids(all.records);
        LoadedSamples loaded;
        for (const TrainingRecord& record : all.records)
            detail::add_sample(record, byte_fallback_tokenizer(), options, loaded);
        for (const Sample& sample : loaded.samples) {
            require(sample.token.size() == sample.target.size(), "a target for every token");
            require(sample.token.size() <= 64 && sample.supervised() > 0,
                    "as long as allowed, and supervised");
            for (const std::int32_t target : sample.target)
                require(target == kIgnoreTarget || (target >= 0 && target < 270),
                        "a target is a token or none");
        }
    } catch (const Error&) {
    }
}

/// Tab-separated values; columns by number.
inline void tsv(std::string_view input) {
    DataOptions options;
    options.columns = "text=1, label=0";
    options.labels = "0=no, 1=yes";
    try {
        const auto lines = detail::read_tab_file(input, "fuzz.tsv");
        for (const TrainingRecord& record : detail::read_column_records(lines, options))
            require(record.pieces.size() == 2 && record.pieces[1].supervised, "a prompt and a label");
    } catch (const Error&) {
    }
}

}  // namespace fuzz
