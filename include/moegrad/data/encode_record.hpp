#pragma once
// TrainingRecord to Sample. Texts between special tokens are encoded whole, so that a word that crosses two pieces is the
// token it is in running text; a token is supervised when the byte it ends on is in a supervised piece. One without bytes
// of its own (a mark before the first word) goes with the piece before it, or the first.
// Token t is the target of row t - 1: the first token of a sample is never supervised.

#include <moegrad/data/dataset.hpp>
#include <moegrad/data/training_record.hpp>
#include <moegrad/io/tokenizer.hpp>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

/// A sample before it is shortened or refused.
struct EncodedRecord {
    std::vector<std::int32_t> token;
    std::vector<bool> supervised;  // per token

    /// Tokens before the first supervised one.
    Index prompt_tokens() const {
        Index t = 0;
        while (t < static_cast<Index>(token.size()) && (t == 0 || !supervised[static_cast<std::size_t>(t)]))
            ++t;
        return t;
    }
    Sample sample() const {
        Sample result;
        result.token = token;
        result.target.assign(token.size(), kIgnoreTarget);
        for (std::size_t t = 1; t < token.size(); ++t)
            if (supervised[t]) result.target[t - 1] = token[t];
        return result;
    }
};

namespace detail {

struct RunOfText {
    std::string text;
    std::vector<std::pair<std::size_t, bool>> piece_end;  // end of each piece in bytes, supervised
};

/// Appends the tokens of the run and empties it. Special tokens written out in it are only text.
inline void encode_run(const Tokenizer& tokenizer, RunOfText& run, bool at_start, EncodedRecord& out) {
    if (run.text.empty()) return;
    const EncodedText encoded =
        tokenizer.encode_with_ends(run.text, {.add_special = false, .at_start = at_start});
    std::size_t piece = 0;
    for (std::size_t i = 0; i < encoded.ids.size(); ++i) {
        while (piece + 1 < run.piece_end.size() && encoded.ends[i] > run.piece_end[piece].first) ++piece;
        out.token.push_back(encoded.ids[i]);
        out.supervised.push_back(run.piece_end[piece].second);
    }
    run = {};
}

/// What the tokenizer puts before and after a text.
struct Frame {
    std::vector<std::int32_t> before, after;
};

inline Frame tokenizer_frame(const Tokenizer& tokenizer) {
    const auto framed = tokenizer.encode("a"), bare = tokenizer.encode("a", {.add_special = false});
    const auto found = std::search(framed.begin(), framed.end(), bare.begin(), bare.end());
    const auto end = found + std::min<std::ptrdiff_t>(framed.end() - found, std::ssize(bare));
    return {{framed.begin(), found}, {end, framed.end()}};
}

inline std::int32_t special_id(const Tokenizer& tokenizer, const std::string& name,
                               const std::string& place) {
    const std::int32_t id = name.empty() ? Vocabulary::kNone : tokenizer.token_to_id(name);
    if (id != Vocabulary::kNone && tokenizer.is_special(id)) return id;
    throw Error{
        ErrorCode::config, place + ": special tokens",
        name.empty() ? "a BOS and an EOS token" : moegrad::format("{} as a special token", name),
        id == Vocabulary::kNone ? "a tokenizer without it" : "a tokenizer in which it is an ordinary piece",
        "does the chat template belong to this model? choose another data.template"};
}

}  // namespace detail

/// `bos`: also where neither the tokenizer's own frame nor the template has one.
inline EncodedRecord encode_record(const TrainingRecord& record, const Tokenizer& tokenizer,
                                   bool bos = false) {
    EncodedRecord out;
    const detail::Frame frame = record.framed ? detail::tokenizer_frame(tokenizer) : detail::Frame{};
    const auto add = [&](std::int32_t id, bool supervised) {
        out.token.push_back(id);
        out.supervised.push_back(supervised);
    };
    for (const std::int32_t id : frame.before) add(id, false);
    detail::RunOfText run;
    bool at_start = true;
    for (const TextPiece& piece : record.pieces) {
        if (!piece.special) {
            run.text += piece.text;
            run.piece_end.emplace_back(run.text.size(), piece.supervised);
            continue;
        }
        detail::encode_run(tokenizer, run, at_start, out);
        add(detail::special_id(tokenizer, piece.text, record.place), piece.supervised);
        at_start = false;
    }
    detail::encode_run(tokenizer, run, at_start, out);
    const bool ended = !frame.after.empty() && !out.token.empty() && out.token.back() == frame.after.front();
    const bool supervised = !record.pieces.empty() && record.pieces.back().supervised;
    for (const std::int32_t id : frame.after)
        if (!ended) add(id, supervised);
    if (bos && (out.token.empty() || out.token.front() != tokenizer.bos_id())) {
        out.token.insert(out.token.begin(), tokenizer.bos_id());
        out.supervised.insert(out.supervised.begin(), false);
    }
    return out;
}

}  // namespace moegrad
