#pragma once
// BytePairModel: the "BPE" model of a tokenizer.json. A word starts as its characters; the adjacent
// pair whose merge has the lowest rank (leftmost first) is joined until none is left. With byte fallback a character
// that is no piece becomes its bytes <0xNN>; a byte that is not UTF-8 counts as such a character of its own.
// Byte-level words start as their bytes instead, each the character that stands for it (tokenizer_bytes.hpp).
// O(n log n) for n characters: linked list of symbols, heap of candidates.   Sennrich et al. 2016; tokenizers, bpe/.

#include <moegrad/core/format.hpp>
#include <moegrad/io/tokenizer_bytes.hpp>
#include <moegrad/io/tokenizer_text.hpp>
#include <moegrad/io/tokenizer_vocabulary.hpp>
#include <moegrad/io/utf8.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

struct BytePairOptions {
    bool byte_fallback = false;
    bool fuse_unknown = false;   // neighbouring unknown characters give one unknown id
    bool ignore_merges = false;  // a word that is a piece is that piece, whatever the merges say
    std::int32_t unknown_id = Vocabulary::kNone;
};

/// Where ids go, and where in the input each of them ends, if anybody asks.
struct TokenSink {
    std::vector<std::int32_t>& ids;
    std::vector<std::size_t>* ends = nullptr;

    bool tracks() const { return ends != nullptr; }
    void push(std::int32_t id, std::size_t end) {
        ids.push_back(id);
        if (ends) ends->push_back(end);
    }
};

class BytePairModel {
public:
    BytePairModel() = default;
    /// `vocabulary` holds the model's own pieces, without added tokens.
    BytePairModel(Vocabulary vocabulary, std::vector<MergeTable::Merge> merges, BytePairOptions options)
        : vocabulary_(std::move(vocabulary)), options_(options) {
        merges_.assign(std::move(merges), vocabulary_.size());
        for (unsigned byte = 0; byte < 256; ++byte) {
            fallback_ids_[byte] = vocabulary_.find(moegrad::format("<0x{:02X}>", byte));
            const char one = static_cast<char>(byte);
            level_ids_[byte] = vocabulary_.find(bytes_to_characters(std::string_view(&one, 1)));
        }
        for (unsigned byte = 0; byte < 128; ++byte) {
            const char character = static_cast<char>(byte);
            ascii_ids_[byte] = vocabulary_.find(std::string_view(&character, 1));
        }
    }

    /// The ids of one word.
    void encode(const AlignedView& word, TokenSink& out) const {
        if (options_.ignore_merges && push_whole(word, word.text, out)) return;
        merge_and_push(word, characters(word.text), out);
    }
    void encode(std::string_view word, std::vector<std::int32_t>& ids) const {
        TokenSink sink{ids};
        encode(AlignedView{word}, sink);
    }
    /// The ids of one word of bytes.
    void encode_bytes(const AlignedView& word, TokenSink& out) const {
        if (options_.ignore_merges && push_whole(word, bytes_to_characters(word.text), out)) return;
        Symbols symbols;
        for (const char c : word.text) {
            const std::int32_t id = level_ids_[static_cast<unsigned char>(c)];
            if (id != Vocabulary::kNone) {
                symbols.push(id, 1);
                continue;
            }
            // Only bytes that no UTF-8 has may lack a piece: U+FFFD.
            for (std::size_t i = 0; i < kReplacementCharacter.size(); ++i)
                symbols.push(level_ids_[static_cast<unsigned char>(kReplacementCharacter[i])], i == 0);
        }
        merge_and_push(word, std::move(symbols), out);
    }

    bool every_byte_has_a_piece() const {
        return std::find(fallback_ids_.begin(), fallback_ids_.end(), Vocabulary::kNone) ==
               fallback_ids_.end();
    }
    /// The first byte of UTF-8 whose character is no piece, else -1.
    int byte_without_character() const {
        for (int byte = 0; byte < 0xF5; ++byte)
            if (byte != 0xC0 && byte != 0xC1 &&
                level_ids_[static_cast<std::size_t>(byte)] == Vocabulary::kNone)
                return byte;
        return -1;
    }

private:
    static constexpr std::int32_t kRemoved = -2;
    static constexpr std::size_t kShort = 24;  // so many symbols are merged by looking at all pairs each time

    /// The parts of a word, and of how many of its bytes each is made.
    struct Symbols {
        std::vector<std::int32_t> ids;
        std::vector<std::size_t> bytes;
        void push(std::int32_t id, std::size_t length) {
            ids.push_back(id);
            bytes.push_back(length);
        }
    };

    struct Candidate {
        std::uint32_t rank;
        std::int32_t joined;
        std::size_t position;
        bool operator<(
            const Candidate& other) const {  // the top of the heap is the least rank, then the leftmost
            return rank != other.rank ? rank > other.rank : position > other.position;
        }
    };

    bool push_whole(const AlignedView& word, std::string_view piece, TokenSink& out) const {
        const std::int32_t whole = vocabulary_.find(piece);
        if (whole == Vocabulary::kNone) return false;
        out.push(whole, word.end(word.text.size()));
        return true;
    }

    void merge_and_push(const AlignedView& word, Symbols symbols, TokenSink& out) const {
        if (symbols.ids.size() <= kShort)
            merge_short(symbols);
        else
            merge(symbols);
        std::size_t done = 0;
        for (std::size_t i = 0; i < symbols.ids.size(); ++i) {
            if (symbols.ids[i] == kRemoved) continue;
            done += symbols.bytes[i];
            out.push(symbols.ids[i], word.end(done));
        }
    }

    Symbols characters(std::string_view word) const {
        Symbols symbols;
        symbols.ids.reserve(word.size());
        bool after_unknown = false;
        for (std::size_t at = 0; at < word.size();) {
            const Utf8Unit unit = utf8_unit(word, at);
            const std::size_t length = unit.state == Utf8State::complete ? unit.length : 1;
            const std::string_view character = word.substr(at, length);
            at += length;
            const std::int32_t id = unit.point < 128 && unit.state == Utf8State::complete
                                        ? ascii_ids_[unit.point]
                                        : vocabulary_.find(character);
            if (id != Vocabulary::kNone) {
                symbols.push(id, length);
                after_unknown = false;
            } else if (options_.byte_fallback && push_fallback(character, symbols)) {
                after_unknown = false;
            } else {
                if (after_unknown && options_.fuse_unknown)
                    symbols.bytes.back() += length;
                else
                    symbols.push(options_.unknown_id, length);
                after_unknown = true;
            }
        }
        return symbols;
    }

    bool push_fallback(std::string_view character, Symbols& symbols) const {
        for (const char c : character)
            if (fallback_ids_[static_cast<unsigned char>(c)] == Vocabulary::kNone) return false;
        for (const char c : character) symbols.push(fallback_ids_[static_cast<unsigned char>(c)], 1);
        return true;
    }

    void merge_short(Symbols& symbols) const {
        std::array<const MergeTable::Merge*, kShort> pair{};  // of symbol i and the next
        std::size_t count = symbols.ids.size();
        const auto look = [&](std::size_t i) {
            pair[i] = i + 1 < count ? merges_.find(symbols.ids[i], symbols.ids[i + 1]) : nullptr;
        };
        for (std::size_t i = 0; i < count; ++i) look(i);
        for (;;) {
            std::size_t best = count;
            for (std::size_t i = 0; i + 1 < count; ++i)
                if (pair[i] && (best == count || pair[i]->rank < pair[best]->rank)) best = i;
            if (best == count) break;
            symbols.ids[best] = pair[best]->joined;
            symbols.bytes[best] += symbols.bytes[best + 1];
            --count;
            for (std::size_t i = best + 1; i < count; ++i) {
                symbols.ids[i] = symbols.ids[i + 1];
                symbols.bytes[i] = symbols.bytes[i + 1];
                pair[i] = pair[i + 1];
            }
            look(best);
            if (best > 0) look(best - 1);
        }
        symbols.ids.resize(count);
    }

    /// Joins in place; the right half of a joined pair becomes kRemoved.
    void merge(Symbols& symbols) const {
        std::vector<std::int32_t>& ids = symbols.ids;
        const std::size_t count = ids.size(), end = count;
        std::vector<std::size_t> next(count), previous(count);
        std::vector<Candidate> first;
        const auto candidate = [&](std::size_t left, std::size_t right) -> std::optional<Candidate> {
            const MergeTable::Merge* found = merges_.find(ids[left], ids[right]);
            if (!found) return std::nullopt;
            return Candidate{found->rank, found->joined, left};
        };
        for (std::size_t i = 0; i < count; ++i) {
            next[i] = i + 1;
            previous[i] = i == 0 ? end : i - 1;
            if (i + 1 < count)
                if (const auto found = candidate(i, i + 1)) first.push_back(*found);
        }
        std::priority_queue<Candidate> heap(std::less<Candidate>(), std::move(first));
        while (!heap.empty()) {
            const Candidate top = heap.top();
            heap.pop();
            const std::size_t left = top.position, right = next[left];
            if (ids[left] == kRemoved || right == end) continue;
            // Either half may have been joined elsewhere since; then the pair now gives another piece.
            const MergeTable::Merge* current = merges_.find(ids[left], ids[right]);
            if (!current || current->joined != top.joined) continue;
            ids[left] = top.joined;
            ids[right] = kRemoved;
            symbols.bytes[left] += symbols.bytes[right];
            next[left] = next[right];
            if (next[left] != end) {
                previous[next[left]] = left;
                if (const auto found = candidate(left, next[left])) heap.push(*found);
            }
            if (previous[left] != end)
                if (const auto found = candidate(previous[left], left)) heap.push(*found);
        }
    }

    Vocabulary vocabulary_;
    MergeTable merges_;
    BytePairOptions options_;
    std::array<std::int32_t, 256> fallback_ids_{};  // of <0x00> to <0xFF>
    std::array<std::int32_t, 256> level_ids_{};     // of the character that stands for the byte
    std::array<std::int32_t, 128> ascii_ids_{};     // most characters of most texts: no search
};

}  // namespace moegrad
