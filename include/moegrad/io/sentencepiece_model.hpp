#pragma once
// tokenizer.model files, behind a seam: sentencepiece_library.hpp fills the slot where the library is there (macro
// MOEGRAD_HAVE_SENTENCEPIECE); without it read_sentencepiece says which package brings it.

#include <moegrad/core/error.hpp>
#include <moegrad/io/tokenizer.hpp>

#include <string>
#include <string_view>

namespace moegrad {

/// `model`: the bytes of the file. Fills vocabulary, segmenter, decoder, bos, eos and, as special tokens, what the model
/// calls control and unknown; puts nothing around a text.
using ReadSentencePiece = void (*)(std::string_view model, const std::string& place, TokenizerParts& parts);

inline ReadSentencePiece& sentencepiece_slot() {
    static ReadSentencePiece slot = nullptr;
    return slot;
}

inline TokenizerParts read_sentencepiece(std::string_view model, const std::string& place) {
    // The first field of the protobuf is the list of pieces; base64 has no such byte at the front.
    if (!model.starts_with('\n') && model.substr(0, 64).find(' ') != std::string_view::npos)
        throw Error{ErrorCode::unsupported, place, "a SentencePiece model",
                    "something else, perhaps lines of token and rank",
                    "for Llama-3: moegrad tokenizer --kind llama-3 --from " + place + " --out FOLDER"};
    if (!sentencepiece_slot())
        throw Error{ErrorCode::unsupported, place, "a tokenizer.json",
                    "only a tokenizer.model, in a build without sentencepiece",
                    "install the Debian package libsentencepiece-dev and build again"};
    TokenizerParts parts;
    sentencepiece_slot()(model, place, parts);
    return parts;
}

}  // namespace moegrad
