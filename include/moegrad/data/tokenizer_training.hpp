#pragma once
// A tokenizer trained on texts: BPE (Sennrich, Haddow & Birch 2016) by the sentencepiece library, where
// MOEGRAD_HAVE_SENTENCEPIECE_TRAIN says that it is there, written as a tokenizer.json that transformers reads too. Text is
// taken as it is; every digit is a token, and what has no piece is spelt in bytes. <unk> 0, <s> 1, </s> 2, bytes, pieces.
// A blank before the first word of a text is the mark that it gets anyway. One thread: the same texts give the same file.

#include <moegrad/core/error.hpp>
#include <moegrad/data/mix.hpp>
#include <moegrad/data/world_documents.hpp>
#include <moegrad/data/world_tokenizer.hpp>
#include <moegrad/io/utf8.hpp>

#include <algorithm>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#ifdef MOEGRAD_HAVE_SENTENCEPIECE_TRAIN
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#endif

namespace moegrad {

inline constexpr Index kTokenizerWorldDocuments = 20'000;

/// What a tokenizer for a mix learns from: every training text once, and so many documents of the small world.
inline std::vector<std::string> tokenizer_texts(std::span<const MixSource> sources, const std::string& folder,
                                                double heldout, const World& world) {
    std::vector<std::string> texts;
    for (const MixSource& source : sources) {
        if (source.files.empty()) {
            for (Index n = 0; n < kTokenizerWorldDocuments; ++n)
                texts.push_back(world_document(world, n).text());
            continue;
        }
        auto more = mix_texts(source, folder, heldout).train;
        std::move(more.begin(), more.end(), std::back_inserter(texts));
    }
    return texts;
}

#ifdef MOEGRAD_HAVE_SENTENCEPIECE_TRAIN

namespace detail {

/// The lines of texts, one after another.
class TextLines final : public sentencepiece::SentenceIterator {
public:
    explicit TextLines(std::span<const std::string> texts) : texts_(texts) { Next(); }
    bool done() const override { return done_; }
    void Next() override {
        for (; text_ < texts_.size(); ++text_, at_ = 0) {
            const std::string& text = texts_[text_];
            while (at_ < text.size()) {
                const std::size_t end = std::min(text.find('\n', at_), text.size());
                line_ = text.substr(at_, end - at_);
                at_ = end + 1;
                if (!line_.empty()) return;
            }
        }
        done_ = true;
    }
    const std::string& value() const override { return line_; }
    sentencepiece::util::Status status() const override { return {}; }

private:
    std::span<const std::string> texts_;
    std::size_t text_ = 0, at_ = 0;
    std::string line_;
    bool done_ = false;
};

/// The pairs of pieces that make each piece, in the order in which the pieces were made; the pairs of one by their ids.
inline Json::Array merges_of(const Json& vocabulary, std::span<const std::string> pieces) {
    Json::Array merges;
    const auto id_of = [&](const std::string& piece) {
        const Json* id = vocabulary.find(piece);
        return id ? *id->integer() : -1;
    };
    for (const std::string& piece : pieces) {
        std::vector<std::pair<std::pair<std::int64_t, std::int64_t>, std::size_t>> pairs;
        for (std::size_t cut = 1; cut < piece.size(); ++cut) {
            if ((static_cast<unsigned char>(piece[cut]) & 0xc0) == 0x80) continue;  // inside a character
            const auto left = id_of(piece.substr(0, cut)), right = id_of(piece.substr(cut));
            if (left >= 0 && right >= 0) pairs.push_back({{left, right}, cut});
        }
        std::sort(pairs.begin(), pairs.end());
        for (const auto& [ids, cut] : pairs)
            merges.push_back(Json(Json::Array{piece.substr(0, cut), piece.substr(cut)}));
    }
    return merges;
}

/// The library's own file.
inline std::string train_pieces(std::span<const std::string> texts, Index size) {
    TextLines lines(texts);
    std::string model;
    const std::unordered_map<std::string, std::string> settings{{"model_type", "bpe"},
                                                                {"vocab_size", moegrad::format("{}", size)},
                                                                {"byte_fallback", "true"},
                                                                {"normalization_rule_name", "identity"},
                                                                {"remove_extra_whitespaces", "false"},
                                                                {"split_digits", "true"},
                                                                {"character_coverage", "0.9995"},
                                                                {"max_sentence_length", "1048576"},
                                                                {"shuffle_input_sentence", "false"},
                                                                {"num_threads", "1"},
                                                                {"minloglevel", "2"}};
    const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &lines, &model);
    if (status.ok()) return model;
    throw Error{ErrorCode::data, "sentencepiece", moegrad::format("texts for {} tokens", size),
                status.error_message()};
}

inline Json trained_tokenizer_json(const std::string& model) {
    sentencepiece::SentencePieceProcessor library;
    if (const auto status = library.LoadFromSerializedProto(model); !status.ok())
        throw Error{ErrorCode::format, "sentencepiece", "a model", status.error_message()};
    Json::Members members;
    std::vector<std::string> pieces;
    for (int id = 0; id < library.GetPieceSize(); ++id) {
        members.push_back({library.IdToPiece(id), id});
        if (!library.IsControl(id) && !library.IsUnknown(id) && !library.IsByte(id))
            pieces.push_back(library.IdToPiece(id));
    }
    Json vocabulary = Json::from_members(std::move(members), "vocabulary");
    Json::Array merges = merges_of(vocabulary, pieces);
    return metaspace_tokenizer_json(bpe_json(std::move(vocabulary), std::move(merges), false),
                                    {"<unk>", "<s>", "</s>"});
}

}  // namespace detail

/// The tokenizer.json of `size` tokens.
inline Json train_tokenizer(std::span<const std::string> texts, Index size) {
    return detail::trained_tokenizer_json(detail::train_pieces(texts, size));
}

#else

inline Json train_tokenizer(std::span<const std::string>, Index) {
    throw Error{ErrorCode::unsupported, "tokenizer --train", "a build with sentencepiece",
                "a build without it", "apt-get install libsentencepiece-dev and build again"};
}

#endif

}  // namespace moegrad
