#pragma once
// tokenizer.model through the sentencepiece library, where MOEGRAD_HAVE_SENTENCEPIECE says that it is there. It cuts the
// text; special tokens, decoding and streaming are those of Tokenizer. Bytes that are not UTF-8 it reads as U+FFFD.

#include <moegrad/io/sentencepiece_model.hpp>

#ifdef MOEGRAD_HAVE_SENTENCEPIECE
#include <moegrad/core/format.hpp>

#include <sentencepiece_processor.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace moegrad {

class SentencePieceSegmenter final : public TextSegmenter {
public:
    SentencePieceSegmenter(std::string_view model, const std::string& place) {
        const auto status = library_.LoadFromSerializedProto(model);
        if (!status.ok())
            throw Error{ErrorCode::format, place, "a SentencePiece model", status.error_message()};
    }

    void encode(const AlignedView& text, TokenSink& out) const override {
        // Offsets in the library are 32 bits wide.
        if (text.text.size() > kLongest)
            throw Error{ErrorCode::data, "sentencepiece",
                        moegrad::format("a text of at most {} bytes", kLongest),
                        moegrad::format("{} bytes", text.text.size())};
        if (out.tracks()) return encode_tracked(text, out);
        std::vector<int> ids;
        check(library_.Encode(text.text, &ids));
        out.ids.insert(out.ids.end(), ids.begin(), ids.end());
    }

    const sentencepiece::SentencePieceProcessor& library() const { return library_; }

private:
    static constexpr std::size_t kLongest = std::size_t{1} << 30;

    static void check(const sentencepiece::util::Status& status) {
        if (!status.ok())
            throw Error{ErrorCode::data, "sentencepiece", "a text that it takes", status.error_message()};
    }

    /// Of the bytes of one character only the last piece has an extent; the others get one byte each.
    void encode_tracked(const AlignedView& text, TokenSink& out) const {
        sentencepiece::ImmutableSentencePieceText cut;
        check(library_.Encode(text.text, cut.mutable_proto()));
        std::vector<std::size_t> ends;
        std::size_t done = 0;
        for (const auto& piece : cut.pieces()) {
            const bool inner = piece.begin() == piece.end() && library_.IsByte(static_cast<int>(piece.id()));
            done = inner ? done + 1 : std::max<std::size_t>(done, piece.end());
            ends.push_back(std::min(done, text.text.size()));
            out.ids.push_back(static_cast<std::int32_t>(piece.id()));
        }
        for (const std::size_t end : ends) out.ends->push_back(text.end(end));
    }

    sentencepiece::SentencePieceProcessor library_;
};

inline void read_sentencepiece_library(std::string_view model, const std::string& place,
                                       TokenizerParts& parts) {
    auto segmenter = std::make_shared<SentencePieceSegmenter>(model, place);
    const sentencepiece::SentencePieceProcessor& library = segmenter->library();
    std::vector<std::string> sample;
    if (!library.Encode("a", &sample).ok() || sample.empty())
        throw Error{ErrorCode::format, place, "a model that cuts \"a\"", "one that does not"};
    if (sample.back().size() > kSpaceMark.size() && sample.back().ends_with(kSpaceMark))
        throw Error{ErrorCode::unsupported, place, "marks before words", "marks behind them"};
    for (int id = 0; id < library.GetPieceSize(); ++id) {
        const std::string& piece = library.IdToPiece(id);
        parts.vocabulary.add(piece, id);
        if (library.IsByte(id)) parts.decoder.byte_fallback = true;
        if (library.IsControl(id) || library.IsUnknown(id))
            parts.added.push_back({piece, id, true, false, false, false, nullptr});
    }
    parts.vocabulary.seal(place);
    parts.decoder.strip_leading = sample.front().starts_with(kSpaceMark) ? 1 : 0;
    parts.bos = library.bos_id();
    parts.eos = library.eos_id();
    parts.segmenter = std::move(segmenter);
}

inline const bool sentencepiece_in_slot = [] {
    sentencepiece_slot() = read_sentencepiece_library;
    return true;
}();

}  // namespace moegrad
#endif
