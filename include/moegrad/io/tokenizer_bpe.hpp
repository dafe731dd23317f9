#pragma once
// BytePairModel: pieces and ranked merges of a tokenizer.json "BPE" model. A word starts as its characters; the adjacent
// pair whose merge has the lowest rank (leftmost first) is joined until none is left. With byte fallback a character
// that is no piece becomes its bytes <0xNN>; a byte that is not UTF-8 counts as such a character of its own.
// O(n log n) for n characters: linked list of symbols, heap of candidates.   Sennrich et al. 2016; tokenizers, bpe/.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/utf8.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

/// Pieces by id and ids by piece. Ids may have gaps, but not so many that a small file asks for much memory.
class Vocabulary {
public:
    static constexpr std::int32_t kNone = -1;

    void add(std::string piece, std::int32_t id) { entries_.push_back({std::move(piece), id}); }

    /// Sorts and checks; call once after the last add. Two pieces with one id and two ids of one piece are errors.
    void seal(const std::string& place) {
        std::sort(entries_.begin(), entries_.end(),
                  [](const Entry& a, const Entry& b) { return a.piece < b.piece; });
        const std::size_t cap = 2 * entries_.size() + 1024;
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            const Entry& entry = entries_[i];
            const auto id = static_cast<std::size_t>(entry.id);
            if (entry.id < 0 || id >= cap)
                throw Error{ErrorCode::format, place, moegrad::format("ids in 0..{}", cap - 1),
                            moegrad::format("{} for \"{}\"", entry.id, printable(entry.piece))};
            if (i > 0 && entries_[i - 1].piece == entry.piece)
                throw Error{ErrorCode::format, place, "one id for each token",
                            moegrad::format("two for \"{}\"", printable(entry.piece))};
            if (id >= by_id_.size()) by_id_.resize(id + 1, kNone);
            if (by_id_[id] != kNone)
                throw Error{ErrorCode::format, place, "one token for each id",
                            moegrad::format("{} is \"{}\" and \"{}\"", id, printable(piece(entry.id)),
                                            printable(entry.piece))};
            by_id_[id] = static_cast<std::int32_t>(i);
        }
    }

    std::int32_t find(std::string_view piece) const {
        const auto found = std::lower_bound(entries_.begin(), entries_.end(), piece,
                                            [](const Entry& a, std::string_view b) { return a.piece < b; });
        return found != entries_.end() && found->piece == piece ? found->id : kNone;
    }
    bool has(std::int32_t id) const {
        return id >= 0 && static_cast<std::size_t>(id) < by_id_.size() &&
               by_id_[static_cast<std::size_t>(id)] != kNone;
    }
    const std::string& piece(std::int32_t id) const {
        if (!has(id))
            throw Error{ErrorCode::value, "tokenizer",
                        moegrad::format("an id of the vocabulary of {}", by_id_.size()),
                        moegrad::format("{}", id), "do tokenizer and model belong together?"};
        return entries_[static_cast<std::size_t>(by_id_[static_cast<std::size_t>(id)])].piece;
    }
    /// Largest id + 1.
    std::size_t size() const { return by_id_.size(); }

private:
    struct Entry {
        std::string piece;
        std::int32_t id;
    };
    std::vector<Entry> entries_;       // sorted by piece
    std::vector<std::int32_t> by_id_;  // id -> index into entries_
};

/// Pair of ids -> rank and joined id; rows by left id, each sorted by right id.
class MergeTable {
public:
    struct Merge {
        std::int32_t left, right, joined;
        std::uint32_t rank;
    };

    /// Of equal pairs the later one counts, as in the reference.
    void assign(std::vector<Merge> merges, std::size_t vocabulary_size) {
        std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
            return std::pair(a.left, a.right) != std::pair(b.left, b.right)
                       ? std::pair(a.left, a.right) < std::pair(b.left, b.right)
                       : a.rank > b.rank;
        });
        const auto same = [](const Merge& a, const Merge& b) {
            return a.left == b.left && a.right == b.right;
        };
        merges.erase(std::unique(merges.begin(), merges.end(), same), merges.end());
        begin_.assign(vocabulary_size + 1, 0);
        for (const Merge& merge : merges) ++begin_[static_cast<std::size_t>(merge.left) + 1];
        for (std::size_t i = 1; i < begin_.size(); ++i) begin_[i] += begin_[i - 1];
        merges_ = std::move(merges);
    }

    const Merge* find(std::int32_t left, std::int32_t right) const {
        const auto row = static_cast<std::size_t>(left);
        const Merge* first = merges_.data() + begin_[row];
        const Merge* last = merges_.data() + begin_[row + 1];
        const Merge* found =
            std::lower_bound(first, last, right, [](const Merge& a, std::int32_t b) { return a.right < b; });
        return found != last && found->right == right ? found : nullptr;
    }

private:
    std::vector<Merge> merges_;
    std::vector<std::size_t> begin_;
};

struct BytePairOptions {
    bool byte_fallback = false;
    bool fuse_unknown = false;   // neighbouring unknown characters give one unknown id
    bool ignore_merges = false;  // a word that is a piece is that piece, whatever the merges say
    std::int32_t unknown_id = Vocabulary::kNone;
};

class BytePairModel {
public:
    BytePairModel() = default;
    /// `vocabulary` holds the model's own pieces, without added tokens.
    BytePairModel(Vocabulary vocabulary, std::vector<MergeTable::Merge> merges, BytePairOptions options)
        : vocabulary_(std::move(vocabulary)), options_(options) {
        merges_.assign(std::move(merges), vocabulary_.size());
        for (unsigned byte = 0; byte < 256; ++byte)
            byte_ids_[byte] = vocabulary_.find(moegrad::format("<0x{:02X}>", byte));
        for (unsigned byte = 0; byte < 128; ++byte) {
            const char character = static_cast<char>(byte);
            ascii_ids_[byte] = vocabulary_.find(std::string_view(&character, 1));
        }
    }

    /// Appends the ids of one word.
    void encode(std::string_view word, std::vector<std::int32_t>& out) const {
        if (options_.ignore_merges)
            if (const std::int32_t whole = vocabulary_.find(word); whole != Vocabulary::kNone) {
                out.push_back(whole);
                return;
            }
        std::vector<std::int32_t> ids = characters(word);
        merge(ids);
        for (const std::int32_t id : ids)
            if (id != kRemoved) out.push_back(id);
    }

    bool every_byte_has_a_piece() const {
        return std::find(byte_ids_.begin(), byte_ids_.end(), Vocabulary::kNone) == byte_ids_.end();
    }

private:
    static constexpr std::int32_t kRemoved = -2;

    struct Candidate {
        std::uint32_t rank;
        std::int32_t joined;
        std::size_t position;
        bool operator<(
            const Candidate& other) const {  // the top of the heap is the least rank, then the leftmost
            return rank != other.rank ? rank > other.rank : position > other.position;
        }
    };

    std::vector<std::int32_t> characters(std::string_view word) const {
        std::vector<std::int32_t> ids;
        ids.reserve(word.size());
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
                ids.push_back(id);
                after_unknown = false;
            } else if (options_.byte_fallback && push_bytes(character, ids)) {
                after_unknown = false;
            } else {
                if (!(after_unknown && options_.fuse_unknown)) ids.push_back(options_.unknown_id);
                after_unknown = true;
            }
        }
        return ids;
    }

    bool push_bytes(std::string_view character, std::vector<std::int32_t>& ids) const {
        for (const char c : character)
            if (byte_ids_[static_cast<unsigned char>(c)] == Vocabulary::kNone) return false;
        for (const char c : character) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
        return true;
    }

    /// Joins in place; the right half of a joined pair becomes kRemoved.
    void merge(std::vector<std::int32_t>& ids) const {
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
    std::array<std::int32_t, 256> byte_ids_{};
    std::array<std::int32_t, 128> ascii_ids_{};  // most characters of most texts: no search
};

}  // namespace moegrad
