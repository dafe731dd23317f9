#pragma once
// Helpers of the tests of training data: two small tokenizers, and samples as text with what is supervised marked.

#include <moegrad/data/training_samples.hpp>
#include <moegrad/data/world_tokenizer.hpp>
#include <moegrad/io/tokenizer_json.hpp>

#include <span>
#include <string>

namespace data_test {

using namespace moegrad;

inline const Tokenizer& words() {
    static const Tokenizer tokenizer = parse_tokenizer(world_tokenizer_json(), "tokenizer.json");
    return tokenizer;
}
inline const Tokenizer& pieces() {
    static const Tokenizer tokenizer = load_tokenizer(MOEGRAD_SOURCE_DIR "/tests/golden/chat");
    return tokenizer;
}

inline LoadedSamples load(const std::string& path, DataOptions options = {}) {
    if (options.chat_template == "auto") options.chat_template = "chatml";
    options.max_length = 1024;
    return load_training_samples(path, pieces(), options);
}

/// The tokens as text, what is supervised in [brackets].
inline std::string marked(const Sample& sample, const Tokenizer& tokenizer = pieces()) {
    std::string out;
    for (std::size_t begin = 0, end = 0; begin < sample.token.size(); begin = end) {
        const auto asked = [&](std::size_t t) { return t > 0 && sample.target[t - 1] != kIgnoreTarget; };
        while (end < sample.token.size() && asked(end) == asked(begin)) ++end;
        const std::span<const std::int32_t> run(sample.token.data() + begin, end - begin);
        // Decoding drops the mark before the first word of a text; here each stretch is one.
        const std::string& first = tokenizer.id_to_piece(run.front());
        const std::string text =
            (first.starts_with(kSpaceMark) ? " " : "") + tokenizer.decode(run, DecodeSpecial::keep);
        out += asked(begin) ? "[" + text + "]" : text;
    }
    return out;
}

/// Rows whose target is wrong: not the next token where asked.
inline Index wrong_targets(const Sample& sample) {
    Index wrong = sample.target.back() != kIgnoreTarget;
    for (std::size_t t = 0; t + 1 < sample.token.size(); ++t)
        wrong += sample.target[t] != kIgnoreTarget && sample.target[t] != sample.token[t + 1];
    return wrong;
}

inline bool has_note(const LoadedSamples& loaded, const std::string& words_of_it) {
    for (const std::string& note : loaded.notes)
        if (note.find(words_of_it) != std::string::npos) return true;
    return false;
}

}  // namespace data_test
