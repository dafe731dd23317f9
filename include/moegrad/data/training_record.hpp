#pragma once
// TrainingRecord: what every format of training data is read into, before the tokenizer.
// Its pieces stand one after another; a piece is text, or one special token by its name. Text never becomes a special
// token, whatever is written in it.

#include <moegrad/core/segments.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

struct TextPiece {
    std::string text;
    bool supervised = false;
    bool special = false;  // `text` is the name of a special token
};

struct TrainingRecord {
    std::string id;               // of the file, else the record's number
    std::string place;            // file:line
    bool named = false;           // the id is the file's
    std::int32_t task = kNoTask;  // data/task_ids.hpp
    std::vector<TextPiece> pieces;
    std::string unanswered;  // where an answer is that has no text; empty: there is something to train on
    bool framed = true;      // the tokenizer puts its own special tokens around the whole

    void add(std::string text, bool supervised = false) {
        if (!text.empty()) pieces.push_back({std::move(text), supervised, false});
    }
    void add_special(std::string name, bool supervised = false) {
        pieces.push_back({std::move(name), supervised, true});
    }
    /// All pieces as one text, special tokens by their names.
    std::string text() const {
        std::string all;
        for (const TextPiece& piece : pieces) all += piece.text;
        return all;
    }
};

/// The names of a tokenizer's special tokens, as templates and answers need them; empty when there is none.
struct SpecialNames {
    std::string bos, eos;
};

}  // namespace moegrad
