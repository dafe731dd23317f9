#pragma once
// Tokenizer: text to ids and back as a Hugging Face tokenizer.json says. Supported is the byte-fallback kind of Llama 2,
// Mistral and Mixtral; what a file asks for beyond that is an Error that names it (tokenizer_json.hpp reads the file).
//   text -> added tokens cut out -> normalizer -> normalized added tokens cut out -> words -> BPE -> BOS and EOS around
// A text is any bytes; those that are not UTF-8 become byte pieces one by one.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/tokenizer_added.hpp>
#include <moegrad/io/tokenizer_bpe.hpp>
#include <moegrad/io/tokenizer_decoder.hpp>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

/// Prepend U+2581 and replace spaces by it, each if the file asks for it. Nothing stays nothing.
struct Normalizer {
    bool prepend_mark = false;
    bool replace_spaces = false;

    std::string apply(std::string_view text) const {
        if (text.empty()) return {};
        std::string out(prepend_mark ? kSpaceMark : std::string_view());
        return out += replace_spaces ? replace_all(text, " ", kSpaceMark) : std::string(text);
    }
};

/// Where the Metaspace pre-tokenizer puts a mark in front, unless the text has one there.
enum class PrependScheme { never, first, always };

struct Metaspace {
    bool active = false;
    PrependScheme scheme = PrependScheme::always;
    bool split = true;  // words begin at marks and no merge crosses them
};

/// Everything a tokenizer.json says, checked.
struct TokenizerParts {
    Vocabulary vocabulary;  // pieces of the model and added tokens
    BytePairModel model;
    std::vector<AddedToken> added;
    Normalizer normalizer;
    Metaspace metaspace;
    std::vector<std::int32_t> prefix, suffix;  // ids that the post-processor puts around the text
    DecoderOptions decoder;
    std::vector<std::string> notes;  // settings of the file that do not apply here
};

struct EncodeOptions {
    bool add_special = true;    // BOS and EOS as the post-processor puts them
    bool split_special = true;  // false: a special token written out in the text is only text
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
            (token.normalized ? all_.normalized : all_.raw).add(pattern, token);
            if (pattern != token.content) decoded_as_[token.id] = pattern;
            if (!token.special) (token.normalized ? plain_.normalized : plain_.raw).add(pattern, token);
        }
    }

    /// The prompt "" gives BOS alone.
    std::vector<std::int32_t> encode(std::string_view text, EncodeOptions options = {}) const {
        std::vector<std::int32_t> ids;
        if (options.add_special) ids = parts_.prefix;
        const Patterns& patterns = options.split_special ? all_ : plain_;
        for (const TextPart& part : patterns.raw.split(text)) {
            if (part.id >= 0) {
                ids.push_back(part.id);
                continue;
            }
            const std::string normal =
                parts_.normalizer.apply(text.substr(part.begin, part.end - part.begin));
            for (const TextPart& inner : patterns.normalized.split(normal)) {
                const std::string_view stretch =
                    std::string_view(normal).substr(inner.begin, inner.end - inner.begin);
                if (inner.id >= 0)
                    ids.push_back(inner.id);
                else
                    encode_words(stretch, part.begin == 0 && inner.begin == 0, ids);
            }
        }
        if (options.add_special) ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
        return ids;
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
    /// What the post-processor puts first and last, else the special tokens <s> and </s>, else -1.
    std::int32_t bos_id() const {
        return parts_.prefix.empty() ? special_or_none("<s>") : parts_.prefix.front();
    }
    std::int32_t eos_id() const {
        return parts_.suffix.empty() ? special_or_none("</s>") : parts_.suffix.back();
    }
    const DecoderOptions& decoder() const { return parts_.decoder; }
    /// Lines worth printing: what the file sets and this class leaves out.
    const std::vector<std::string>& notes() const { return parts_.notes; }

private:
    struct Patterns {
        AddedTokens raw, normalized;
    };

    void encode_words(std::string_view text, bool at_start, std::vector<std::int32_t>& ids) const {
        if (!parts_.metaspace.active) return parts_.model.encode(text, ids);
        std::string marked = replace_all(text, " ", kSpaceMark);
        const PrependScheme scheme = parts_.metaspace.scheme;
        const bool wanted = scheme == PrependScheme::always || (scheme == PrependScheme::first && at_start);
        if (wanted && !marked.starts_with(kSpaceMark)) marked.insert(0, kSpaceMark);
        std::string_view rest = marked;
        while (parts_.metaspace.split && !rest.empty()) {
            const std::size_t next =
                rest.find(kSpaceMark, rest.starts_with(kSpaceMark) ? kSpaceMark.size() : 0);
            if (next == std::string_view::npos) break;
            parts_.model.encode(rest.substr(0, next), ids);
            rest.remove_prefix(next);
        }
        parts_.model.encode(rest, ids);
    }

    std::int32_t special_or_none(std::string_view token) const {
        const std::int32_t id = token_to_id(token);
        return is_special(id) ? id : Vocabulary::kNone;
    }

    TokenizerParts parts_;
    std::vector<bool> special_;
    std::map<std::int32_t, std::string> decoded_as_;
    Patterns all_, plain_;  // plain: without the special tokens
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
