#pragma once
// Tokenizer: text to ids and back as a Hugging Face tokenizer.json says: byte-level BPE (GPT-2, Llama 3, Qwen, OLMoE),
// BPE with byte fallback (Llama 2, Mistral, Mixtral), or a tokenizer.model through sentencepiece. What a file asks for
// beyond that is an Error that names it (tokenizer_json.hpp reads the file).
//   text -> added tokens cut out -> normalizer -> normalized added tokens cut out -> words -> BPE -> BOS and EOS around
// A text is any bytes; those that are not UTF-8 become byte pieces one by one.

#include <moegrad/core/error.hpp>
#include <moegrad/io/tokenizer_added.hpp>
#include <moegrad/io/tokenizer_bpe.hpp>
#include <moegrad/io/tokenizer_decoder.hpp>
#include <moegrad/io/tokenizer_split.hpp>
#include <moegrad/io/tokenizer_text.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

/// Text to ids by other means than the BPE here: a tokenizer.model through its own library.
class TextSegmenter {
public:
    virtual ~TextSegmenter() = default;
    virtual void encode(const AlignedView& text, TokenSink& out) const = 0;
};

/// Everything a tokenizer says, checked.
struct TokenizerParts {
    Vocabulary vocabulary;  // pieces of the model and added tokens
    BytePairModel model;
    std::vector<AddedToken> added;
    Normalizer normalizer;
    // What cuts words: Metaspace; or splits one after the other, and at the end ByteLevel.
    Metaspace metaspace;
    std::vector<SplitStep> splits;
    ByteLevelStep bytes;
    std::shared_ptr<const TextSegmenter> segmenter;  // in place of normalizer, cuts and model
    std::vector<std::int32_t> prefix, suffix;        // ids that the post-processor puts around the text
    std::int32_t bos = -1, eos = -1;                 // as tokenizer_config.json names them
    DecoderOptions decoder;
    std::vector<std::string> notes;  // settings of the file that do not apply here
};

struct EncodeOptions {
    bool add_special = true;     // BOS and EOS as the post-processor puts them
    bool parse_special = false;  // true: a special token written out in the text is that token, not text
    bool at_start = true;  // false: something stands before the text (Metaspace "first" puts no mark there)
};

/// Ids, and for each of them where in the input, in bytes, the text that it stands for ends. Never decreasing; BOS ends
/// at 0; ids that spell one character in bytes end inside it; of a text that normalisation changes, the ids of a
/// character end where the characters that it was made of end.
struct EncodedText {
    std::vector<std::int32_t> ids;
    std::vector<std::size_t> ends;
};

enum class DecodeSpecial { skip, keep };

class Tokenizer {
public:
    explicit Tokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
        special_.assign(parts_.vocabulary.size(), false);
        for (const AddedToken& token : parts_.added) {
            if (token.special) special_[static_cast<std::size_t>(token.id)] = true;
            const std::string pattern =
                token.normalized ? parts_.normalizer.apply(token.content) : token.content;
            (token.normalized ? normalized_ : raw_).add(pattern, token);
            if (pattern != token.content) decoded_as_[token.id] = pattern;
        }
    }

    /// The prompt "" gives BOS alone.
    std::vector<std::int32_t> encode(std::string_view text, EncodeOptions options = {}) const {
        std::vector<std::int32_t> ids;
        TokenSink sink{ids};
        encode(text, options, sink);
        return ids;
    }
    /// The same ids.
    EncodedText encode_with_ends(std::string_view text, EncodeOptions options = {}) const {
        EncodedText out;
        TokenSink sink{out.ids, &out.ends};
        encode(text, options, sink);
        return out;
    }

    std::string decode(std::span<const std::int32_t> ids, DecodeSpecial special = DecodeSpecial::skip) const {
        PieceDecoder decoder(parts_.decoder, BrokenBytes::replace_run);
        for (const std::int32_t id : ids)
            if (special == DecodeSpecial::keep || !is_special(id)) decoder.push(decode_piece(id));
        decoder.end_run();
        return decoder.take();
    }

    /// Vocabulary::kNone (-1) when there is no such token.
    std::int32_t token_to_id(std::string_view token) const { return parts_.vocabulary.find(token); }
    /// Throws for an id that is no token.
    const std::string& id_to_piece(std::int32_t id) const { return parts_.vocabulary.piece(id); }
    /// The piece that decoding sees: of an added token that was looked for in normalized text, its normalized form
    /// (as tokenizers 0.22 and later; the mark that encoding swallowed comes back as a space).
    const std::string& decode_piece(std::int32_t id) const {
        const auto found = decoded_as_.find(id);
        return found == decoded_as_.end() ? id_to_piece(id) : found->second;
    }
    bool is_special(std::int32_t id) const {
        return parts_.vocabulary.has(id) && special_[static_cast<std::size_t>(id)];
    }
    /// Largest id + 1, added tokens included; compare with the rows of the embedding.
    std::size_t vocab_size() const { return parts_.vocabulary.size(); }
    /// As tokenizer_config.json says; else what the post-processor puts first and last, else the special tokens <s> and
    /// </s>, else -1.
    std::int32_t bos_id() const {
        if (parts_.bos >= 0) return parts_.bos;
        return parts_.prefix.empty() ? special_or_none("<s>") : parts_.prefix.front();
    }
    std::int32_t eos_id() const {
        if (parts_.eos >= 0) return parts_.eos;
        return parts_.suffix.empty() ? special_or_none("</s>") : parts_.suffix.back();
    }
    const DecoderOptions& decoder() const { return parts_.decoder; }
    /// Lines worth printing: what the file sets and this class leaves out.
    const std::vector<std::string>& notes() const { return parts_.notes; }

private:
    void encode(std::string_view text, EncodeOptions options, TokenSink& out) const {
        if (options.add_special)
            for (const std::int32_t id : parts_.prefix) out.push(id, 0);
        const AlignedView whole{text};
        for (const TextPart& part : raw_.split(text, options.parse_special)) {
            if (part.id >= 0)
                out.push(part.id, part.end);
            else
                encode_stretch(whole.part(part.begin, part.end), options, out);
        }
        if (options.add_special)
            for (const std::int32_t id : parts_.suffix) out.push(id, text.size());
    }

    void encode_stretch(const AlignedView& stretch, EncodeOptions options, TokenSink& out) const {
        const bool at_start = options.at_start && stretch.base == 0;
        if (parts_.segmenter) return parts_.segmenter->encode(stretch, out);
        const std::optional<AlignedText> changed = parts_.normalizer.apply(stretch, out.tracks());
        const AlignedView normal = changed ? changed->view() : stretch;
        for (const TextPart& part : normalized_.split(normal.text, options.parse_special)) {
            if (part.id >= 0)
                out.push(part.id, normal.end(part.end));
            else
                encode_words(normal.part(part.begin, part.end), at_start && part.begin == 0, out);
        }
    }

    void encode_words(const AlignedView& text, bool at_start, TokenSink& out) const {
        if (parts_.metaspace.active) {
            const AlignedText marked = parts_.metaspace.apply(text, at_start, out.tracks());
            const AlignedView view = marked.view();
            for (std::size_t at = 0; at < view.text.size();) {
                const std::size_t end = parts_.metaspace.word_end(view.text, at);
                parts_.model.encode(view.part(at, end), out);
                at = end;
            }
            return;
        }
        if (parts_.splits.empty() && !parts_.bytes.active) return parts_.model.encode(text, out);
        for (std::size_t at = 0; at < text.text.size();) {
            const Utf8Run run = utf8_run(text.text, at);
            const AlignedView view = text.part(at, run.end);
            if (run.valid)
                cut_and_encode(view, out);
            else
                encode_piece(view, out);
            at = run.end;
        }
    }

    /// A byte that is not UTF-8 never gets here: no pattern says what it is, so it is a piece of its own.
    void cut_and_encode(const AlignedView& text, TokenSink& out) const {
        for (const TextRange& range : cut_text(parts_.splits, text.text)) {
            const AlignedView piece = text.part(range.begin, range.end);
            if (!parts_.bytes.active) {
                parts_.model.encode(piece, out);
            } else if (parts_.bytes.add_prefix_space && !piece.text.starts_with(' ')) {
                const AlignedText spaced = with_prefix(" ", piece, out.tracks());
                cut_bytes(spaced.view(), out);
            } else {
                cut_bytes(piece, out);
            }
        }
    }

    void cut_bytes(const AlignedView& piece, TokenSink& out) const {
        for (const TextRange& word : cut_text(parts_.bytes.cuts, piece.text))
            parts_.model.encode_bytes(piece.part(word.begin, word.end), out);
    }

    void encode_piece(const AlignedView& piece, TokenSink& out) const {
        if (parts_.bytes.active)
            parts_.model.encode_bytes(piece, out);
        else
            parts_.model.encode(piece, out);
    }

    std::int32_t special_or_none(std::string_view token) const {
        const std::int32_t id = token_to_id(token);
        return is_special(id) ? id : Vocabulary::kNone;
    }

    TokenizerParts parts_;
    std::vector<bool> special_;
    std::map<std::int32_t, std::string> decoded_as_;
    AddedTokens raw_, normalized_;  // looked for before and after normalisation
};

/// Text token by token, for printing while it is generated: push() gives the characters that are complete by now.
/// All of it together equals decode(), except where byte pieces are no UTF-8: there only the wrong bytes become U+FFFD.
/// The tokenizer must outlive this.
class Detokenizer {
public:
    explicit Detokenizer(const Tokenizer& tokenizer, DecodeSpecial special = DecodeSpecial::skip)
        : tokenizer_(&tokenizer),
          special_(special),
          decoder_(tokenizer.decoder(), BrokenBytes::replace_each) {}

    std::string push(std::int32_t id) {
        const std::string& piece = tokenizer_->decode_piece(id);
        if (special_ == DecodeSpecial::keep || !tokenizer_->is_special(id)) decoder_.push(piece);
        return decoder_.take();
    }
    /// Whether the last token began a character that is not whole yet.
    bool waiting() const { return decoder_.waiting(); }
    /// What is left when no more tokens come.
    std::string finish() {
        decoder_.end_run();
        return decoder_.take();
    }

private:
    const Tokenizer* tokenizer_;
    DecodeSpecial special_;
    PieceDecoder decoder_;
};

}  // namespace moegrad
